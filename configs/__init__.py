"""Describe clients: the models of their configs, and how YAML becomes them."""

from tillstream.configs.contract import Column, ColumnModel
from tillstream.configs.loader import load
from tillstream.configs.models import (
    ClientConfig,
    DeadLetters,
    Dedup,
    Delivery,
    Entity,
    Flink,
    PostgresSink,
    SinkModel,
)
from tillstream.configs.part_sinks import FilesSink, GcsSink
from tillstream.configs.remote_sinks import HttpSink, KafkaSink
from tillstream.configs.schema_registry import SchemaRegistry
from tillstream.configs.secrets import SECRETS_DIR_VARIABLE, SecretRef
from tillstream.configs.source import FilesSource, KafkaSource, Source, StartAt

__all__ = [
    "SECRETS_DIR_VARIABLE",
    "ClientConfig",
    "Column",
    "ColumnModel",
    "DeadLetters",
    "Dedup",
    "Delivery",
    "Entity",
    "FilesSink",
    "FilesSource",
    "Flink",
    "GcsSink",
    "HttpSink",
    "KafkaSink",
    "KafkaSource",
    "PostgresSink",
    "SchemaRegistry",
    "SecretRef",
    "SinkModel",
    "Source",
    "StartAt",
    "load",
]
