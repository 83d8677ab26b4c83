"""Write a client's pipeline as a thin jar: a template, of which `template.launchable` makes a job.

The layout is that of Beam's PortablePipelineJarUtils: the pipeline and its options as JSON below
BEAM-PIPELINE/, and the classes that read them, because those look for them through their own class
loader. Everything else of the runner lies on the cluster's class path. Equal input gives equal bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.environments import ProcessEnvironment, python_sdk_capabilities
from google.protobuf import json_format

from tillstream.configs import ClientConfig
from tillstream.configs.base import at_home
from tillstream.configs.launching import AtLaunch
from tillstream.configs.variables import Variable
from tillstream.pipelines.blueprint import blueprint
from tillstream.pipelines.errors import MissingToolError
from tillstream.pipelines.template import build
from tillstream.runners.carried import CODE_ROLE
from tillstream.runners.flink.processes import spread
from tillstream.runners.flink.template import (
    CONFIG_ENTRY,
    ENTRY_CLASS,
    HARNESS,
    JOB,
    LIBRARIES,
    MANIFEST_ENTRY,
    PIPELINE_ENTRY,
    json_bytes,
    write_entry,
)
from tillstream.runners.jobs.code import pack
from tillstream.runners.jobs.describing import describe
from tillstream.runners.jobs.manifest import Manifest
from tillstream.transforms.flows import registry_of, using

__all__ = ["Written", "pipeline_proto", "write_jar"]

_CLASSES = {
    "beam-runners-java-job-service-*.jar": (
        "org/apache/beam/runners/jobsubmission/PortablePipelineJarUtils",
    ),
    "beam-runners-flink-*.jar": ("tillstream/flink/RunTemplate",),
}


@dataclass(frozen=True)
class Written:
    """Hold a config as it is written, for launches that have other values for its variables and paths.

    Attributes:
        text: YAML.
        config: loaded from it, with relative paths as they are.
        variables: that are in it, by name.
    """

    text: str
    config: ClientConfig
    variables: Mapping[str, Variable]


def pipeline_proto(config: ClientConfig, *, bounded: bool) -> beam_runner_api_pb2.Pipeline:
    """Return a client's pipeline in Beam's portable form, with what a launch fixes left open.

    Args:
        config: the client's.
        bounded: read what is there and end.
    """
    # Beam's own way here would stage a list of this machine's packages, from a path of this machine.
    environment = ProcessEnvironment(HARNESS, env={}, capabilities=python_sdk_capabilities(), artifacts=())
    pipeline = blueprint("PortableRunner", PipelineOptions(flags=[], streaming=True))
    build(pipeline, config, bounded=bounded, generation=AtLaunch("generation"))
    proto = pipeline.to_runner_api(default_environment=environment)
    spread(proto, config.flink.processes)
    _in_order(proto)
    return proto


def write_jar(
    config: ClientConfig,
    jar: Path,
    runner_jars: Path,
    *,
    bounded: bool,
    written: Written | None = None,
    fat: bool = False,
) -> Manifest:
    """Write the template of a client's job, for `template.launchable`, and return its manifest.

    It carries the client's own transforms, as they lie in the config's folder of them now.

    Args:
        config: the client's; secrets stay references.
        jar: file to write.
        runner_jars: folder of the Beam Flink runner's jars.
        bounded: read what is there and end.
        written: what the config was loaded from, to be launched without it.
        fat: carry the runner's jars too, for clusters that lack them.

    Raises:
        MissingToolError: if the runner's jars are not in the folder.
        UserError: if the client's own transforms weigh too much.
    """
    about = config.transforms
    code = b"" if about.path is None else pack(about.modules, at_home(about.path))
    with using(registry_of(config)):
        config = _placeless(config if written is None else written.config)
        proto = pipeline_proto(config, bounded=bounded)
        variables = None if written is None else written.variables
        manifest = describe(config, proto, runner_jars, bounded=bounded, code=code, variables=variables)
    _carry(proto, code)
    pipeline = json_format.MessageToDict(proto)
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as out:
        write_entry(
            out,
            "META-INF/MANIFEST.MF",
            f"Manifest-Version: 1.0\r\nMain-Class: {ENTRY_CLASS}\r\n\r\n".encode(),
        )
        write_entry(out, MANIFEST_ENTRY, manifest.encode())
        if written is not None:
            write_entry(out, CONFIG_ENTRY, written.text.encode())
        write_entry(out, "BEAM-PIPELINE/pipeline-manifest.json", json_bytes({"defaultJobName": JOB}))
        write_entry(out, PIPELINE_ENTRY, json_bytes(pipeline))
        for pattern, prefixes in _CLASSES.items():
            _copy_classes(out, _the_jar(runner_jars, pattern), prefixes)
        for library in sorted(runner_jars.glob("*.jar")) if fat else ():
            write_entry(out, f"{LIBRARIES}{library.name}", library.read_bytes())
    return manifest


def _placeless(config: ClientConfig) -> ClientConfig:
    """Return a config without the folder of its transforms, which are carried."""
    return config.model_copy(update={"transforms": config.transforms.model_copy(update={"path": None})})


def _carry(proto: beam_runner_api_pb2.Pipeline, code: bytes) -> None:
    """Attach the client's code to a pipeline's environments; changed in place."""
    if not code:
        return
    embedded = common_urns.artifact_types.EMBEDDED.urn
    payload = beam_runner_api_pb2.EmbeddedFilePayload(data=code).SerializeToString()
    for environment in proto.components.environments.values():
        environment.dependencies.add(type_urn=embedded, type_payload=payload, role_urn=CODE_ROLE)


def _in_order(proto: beam_runner_api_pb2.Pipeline) -> None:
    """Write maps and sets in the order of their keys; changed in place."""
    # Beam gathers them in a set.
    requirements = sorted(proto.requirements)
    del proto.requirements[:]
    proto.requirements.extend(requirements)
    for transform in proto.components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            transform.spec.payload = payload.SerializeToString(deterministic=True)


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
