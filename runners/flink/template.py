"""Make the template of a client's job into a jar that a Flink cluster runs by itself; without Beam.

A template leaves open what a launch fixes. That goes into the jar's options, and into the environment of the
processes that run the stages (beam_runner_api.proto, ProcessPayload).
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tillstream.configs.launching import LAUNCH_VARIABLE, LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.options import harness_environment, job_options, job_settings, shadow_options
from tillstream.runners.flink.processes import READING, STAGES_VARIABLE
from tillstream.runners.jobs.manifest import JobInfo, Manifest, read_agent
from tillstream.transforms.packages import PACKAGES_VARIABLE

__all__ = [
    "CONFIG_ENTRY",
    "ENTRY_CLASS",
    "HARNESS",
    "JOB",
    "LIBRARIES",
    "MANIFEST_ENTRY",
    "PIPELINE_ENTRY",
    "json_bytes",
    "launchable",
    "read_launched",
    "read_manifest",
    "write_entry",
]

# Ours, for the operators' names: runners/local/java/beam-runners-flink.
ENTRY_CLASS = "tillstream.flink.RunTemplate"
# Found on the path of whoever runs the TaskManager.
HARNESS = "tillstream-harness"
JOB = "job"
MANIFEST_ENTRY = "TILLSTREAM/manifest.json"
CONFIG_ENTRY = "TILLSTREAM/config.yaml"
# Flink puts jars within a job's jar on its class path, if they lie in this folder (PackagedProgram).
LIBRARIES = "lib/"
PIPELINE_ENTRY = f"BEAM-PIPELINE/{JOB}/pipeline.json"
# Read by our entry class.
_SETTINGS_ENTRY = "TILLSTREAM/flink.properties"
_OPTIONS_ENTRY = f"BEAM-PIPELINE/{JOB}/pipeline-options.json"
# The oldest time that a zip entry can bear: the jar's bytes must not depend on the clock.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_manifest(template: Path) -> Manifest:
    """Return the manifest of a template.

    Raises:
        UserError: if the file is no template.
    """
    try:
        with zipfile.ZipFile(template) as jar:
            return Manifest.decode(jar.read(MANIFEST_ENTRY))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(
            f"{template}: found {error}, expected a jar of 'tillstream template build'"
        ) from error


def read_launched(jar: Path) -> JobInfo:
    """Return what the job of a jar that `launchable` made says of itself.

    Raises:
        ValueError: if it is none, or of another version.
    """
    try:
        with zipfile.ZipFile(jar) as opened:
            options = json.loads(opened.read(_OPTIONS_ENTRY))
        found = read_agent(options["beam:option:user_agent:v1"])
    except (zipfile.BadZipFile, KeyError, TypeError) as error:
        raise ValueError(f"found {error!r}, expected a jar that tillstream has launched") from error
    if found is None:
        raise ValueError("found a jar that says nothing of itself, expected one of this release")
    return found


def launchable(template: Path, jar: Path, parameters: LaunchParameters) -> JobInfo:
    """Write the jar of one launch of a template, and return what the job will say of itself.

    Args:
        template: as `jar.write_jar` writes it.
        jar: file to write.
        parameters: of the launch.

    Raises:
        UserError: if the file is no template.
    """
    info = JobInfo(read_manifest(template), parameters)
    config, bounded = info.config(), info.manifest.bounded
    environment = {
        **harness_environment(config, parameters),
        LAUNCH_VARIABLE: parameters.encode(),
        PACKAGES_VARIABLE: json_bytes(info.manifest.packages).decode(),
    }
    named = {**job_options(config, bounded=bounded), "user_agent": info.agent()}
    if parameters.canary is not None:
        named |= shadow_options(parameters.job_name(config.client))
    options = {f"beam:option:{name}:v1": _option(value) for name, value in named.items()}
    with zipfile.ZipFile(template) as source, zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == PIPELINE_ENTRY:
                content = _with_environment(content, environment)
            write_entry(out, entry.filename, content)
        write_entry(out, _OPTIONS_ENTRY, json_bytes(options))
        settings = "".join(f"{name}={value}\n" for name, value in sorted(job_settings(config).items()))
        write_entry(out, _SETTINGS_ENTRY, settings.encode())
    return info


def _with_environment(content: bytes, environment: Mapping[str, str]) -> bytes:
    pipeline = json.loads(content)
    for name, each in pipeline["components"]["environments"].items():
        stages = {STAGES_VARIABLE: READING} if name.endswith(f"_{READING}") else {}
        payload = _process_payload(HARNESS, {**environment, **stages})
        each["payload"] = base64.b64encode(payload).decode()
    return json_bytes(pipeline)


def _process_payload(command: str, environment: Mapping[str, str]) -> bytes:
    """Return Beam's ProcessPayload: command = 3, env = 4, a map. Its own class takes seconds to import."""
    entries = (
        _field(4, _field(1, name.encode()) + _field(2, value.encode()))
        for name, value in sorted(environment.items())
    )
    return _field(3, command.encode()) + b"".join(entries)


def _field(number: int, content: bytes) -> bytes:
    size, length = bytearray(), len(content)
    while length > 0x7F:  # noqa: PLR2004  (a varint holds seven bits a byte)
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes([number << 3 | 2]) + bytes(size) + content


def _option(value: Any) -> Any:
    # A Struct knows doubles only, and Java does not read those as integers: Beam sends integers as text.
    return str(value) if type(value) is int else value


def json_bytes(value: Any) -> bytes:
    """Return JSON; equal values give equal bytes."""
    return json.dumps(value, sort_keys=True).encode()


def write_entry(out: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Write an entry of a jar; equal ones give equal bytes."""
    # Jars within it are packed already.
    packing = zipfile.ZIP_STORED if name.endswith(".jar") else zipfile.ZIP_DEFLATED
    out.writestr(zipfile.ZipInfo(name, _EPOCH), content, packing)
