"""Write a client's pipeline as a thin jar that a Flink cluster runs by itself.

The layout is that of Beam's PortablePipelineJarUtils: the pipeline and its options as JSON below
BEAM-PIPELINE/, and the classes that read them, because those look for them through their own class
loader. Everything else of the runner lies on the cluster's class path. Equal input gives equal bytes.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.environments import ProcessEnvironment, python_sdk_capabilities
from google.protobuf import json_format

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import MissingToolError
from tillstream.pipelines.template import build
from tillstream.runners.flink.options import harness_environment, job_options
from tillstream.runners.flink.processes import spread

__all__ = ["ENTRY_CLASS", "pipeline_proto", "write_jar"]

ENTRY_CLASS = "org.apache.beam.runners.flink.FlinkPipelineRunner"
_JOB = "job"
_CLASSES = {
    "beam-runners-java-job-service-*.jar": (
        "org/apache/beam/runners/jobsubmission/PortablePipelineJarUtils",
    ),
    "beam-runners-flink-*.jar": (
        "org/apache/beam/runners/flink/FlinkPipelineRunner",
        "org/apache/beam/runners/flink/FlinkPortableRunnerResult",
    ),
}
# The oldest time that a zip entry can bear: the jar's bytes must not depend on the clock.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pipeline_proto(
    config: ClientConfig, *, bounded: bool, generation: int | None = None
) -> beam_runner_api_pb2.Pipeline:
    """Return a client's pipeline in Beam's portable form; arguments as of `template.build`."""
    harness = harness_environment(config, generation)
    # Beam's own way here would stage a list of this machine's packages, from a path of this machine.
    environment = ProcessEnvironment(
        harness["command"], env=harness["env"], capabilities=python_sdk_capabilities(), artifacts=()
    )
    pipeline = beam.Pipeline(runner="PortableRunner", options=PipelineOptions(flags=[], streaming=True))
    build(pipeline, config, bounded=bounded, generation=generation)
    proto = pipeline.to_runner_api(default_environment=environment)
    spread(proto, config.flink.processes)
    return proto


def write_jar(
    config: ClientConfig, jar: Path, runner_jars: Path, *, bounded: bool, generation: int | None = None
) -> None:
    """Write a client's job.

    Args:
        config: the client's; secrets stay references.
        jar: file to write.
        runner_jars: folder of the Beam Flink runner's jars.
        bounded: read what is there and end.
        generation: of this launch; see `template.build`.

    Raises:
        MissingToolError: if the runner's jars are not in the folder.
    """
    options = {
        f"beam:option:{name}:v1": _option(value)
        for name, value in job_options(config, bounded=bounded).items()
    }
    pipeline = json_format.MessageToDict(pipeline_proto(config, bounded=bounded, generation=generation))
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as out:
        _write(
            out,
            "META-INF/MANIFEST.MF",
            f"Manifest-Version: 1.0\r\nMain-Class: {ENTRY_CLASS}\r\n\r\n".encode(),
        )
        _write(out, "BEAM-PIPELINE/pipeline-manifest.json", _json({"defaultJobName": _JOB}))
        _write(out, f"BEAM-PIPELINE/{_JOB}/pipeline.json", _json(pipeline))
        _write(out, f"BEAM-PIPELINE/{_JOB}/pipeline-options.json", _json(options))
        for pattern, prefixes in _CLASSES.items():
            _copy_classes(out, _the_jar(runner_jars, pattern), prefixes)


def _option(value: Any) -> Any:
    # A Struct knows doubles only, and Java does not read those as integers: Beam sends integers as text.
    return str(value) if type(value) is int else value


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _write(out: zipfile.ZipFile, name: str, content: bytes) -> None:
    out.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)


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
                _write(out, name, source.read(name))
