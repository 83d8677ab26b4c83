"""Describe clients: one YAML file each, checked as a whole before anything runs."""

from tillstream.configs.contract import Column
from tillstream.configs.models import ClientConfig, DeadLetters, Delivery, Entity, FlinkJob
from tillstream.configs.secrets import SecretRef
from tillstream.configs.sinks import FilesSink, PostgresSink, Sink
from tillstream.configs.sources import FilesSource, KafkaSource, Source, StartPosition

__all__ = [
    "ClientConfig",
    "Column",
    "DeadLetters",
    "Delivery",
    "Entity",
    "FilesSink",
    "FilesSource",
    "FlinkJob",
    "KafkaSource",
    "PostgresSink",
    "SecretRef",
    "Sink",
    "Source",
    "StartPosition",
]
