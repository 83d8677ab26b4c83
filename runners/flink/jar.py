"""Write a client's pipeline as a thin jar: a template, of which `template.launchable` makes a job.

The layout is that of Beam's PortablePipelineJarUtils: the pipeline and its options as JSON below
BEAM-PIPELINE/, and the classes that read them, because those look for them through their own class
loader. Everything else of the runner lies on the cluster's class path. Equal input gives equal bytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.environments import ProcessEnvironment, python_sdk_capabilities
from google.protobuf import json_format

from tillstream.configs import ClientConfig
from tillstream.configs.launching import AtLaunch
from tillstream.pipelines.errors import MissingToolError
from tillstream.pipelines.template import build
from tillstream.runners.flink.processes import spread
from tillstream.runners.flink.template import (
    ENTRY_CLASS,
    HARNESS,
    JOB,
    MANIFEST_ENTRY,
    PIPELINE_ENTRY,
    json_bytes,
    write_entry,
)
from tillstream.runners.jobs.describing import describe
from tillstream.runners.jobs.manifest import Manifest

__all__ = ["pipeline_proto", "write_jar"]

_CLASSES = {
    "beam-runners-java-job-service-*.jar": (
        "org/apache/beam/runners/jobsubmission/PortablePipelineJarUtils",
    ),
    "beam-runners-flink-*.jar": ("tillstream/flink/RunTemplate",),
}


def pipeline_proto(config: ClientConfig, *, bounded: bool) -> beam_runner_api_pb2.Pipeline:
    """Return a client's pipeline in Beam's portable form, with what a launch fixes left open.

    Args:
        config: the client's.
        bounded: read what is there and end.
    """
    # Beam's own way here would stage a list of this machine's packages, from a path of this machine.
    environment = ProcessEnvironment(HARNESS, env={}, capabilities=python_sdk_capabilities(), artifacts=())
    pipeline = beam.Pipeline(runner="PortableRunner", options=PipelineOptions(flags=[], streaming=True))
    build(pipeline, config, bounded=bounded, generation=AtLaunch("generation"))
    proto = pipeline.to_runner_api(default_environment=environment)
    spread(proto, config.flink.processes)
    return proto


def write_jar(config: ClientConfig, jar: Path, runner_jars: Path, *, bounded: bool) -> Manifest:
    """Write the template of a client's job, for `template.launchable`, and return its manifest.

    Args:
        config: the client's; secrets stay references.
        jar: file to write.
        runner_jars: folder of the Beam Flink runner's jars.
        bounded: read what is there and end.

    Raises:
        MissingToolError: if the runner's jars are not in the folder.
    """
    proto = pipeline_proto(config, bounded=bounded)
    manifest = describe(config, proto, runner_jars, bounded=bounded)
    pipeline = json_format.MessageToDict(proto)
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as out:
        write_entry(
            out,
            "META-INF/MANIFEST.MF",
            f"Manifest-Version: 1.0\r\nMain-Class: {ENTRY_CLASS}\r\n\r\n".encode(),
        )
        write_entry(out, MANIFEST_ENTRY, manifest.encode())
        write_entry(out, "BEAM-PIPELINE/pipeline-manifest.json", json_bytes({"defaultJobName": JOB}))
        write_entry(out, PIPELINE_ENTRY, json_bytes(pipeline))
        for pattern, prefixes in _CLASSES.items():
            _copy_classes(out, _the_jar(runner_jars, pattern), prefixes)
    return manifest


def _the_jar(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise MissingToolError(
            f"found no {pattern} in {folder}, expected the Flink runner: run 'tillstream up'"
        )
    return found[0]


def _copy_classes(out: zipfile.ZipFile, jar: Path, prefixes: tuple[str, ...]) -> None:
    with zipfile.ZipFile(jar) as source:
        for name in sorted(source.namelist()):
            if name.endswith(".class") and name.startswith(prefixes):
                write_entry(out, name, source.read(name))
