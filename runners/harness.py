"""Be one Beam SDK harness of Flink's process environment, in a process that the nursery has forked.

Flink's TaskManager starts `tillstream-harness` (`nursery.client`) for each job with the addresses of its
services. The job's options come from the provision service (beam_provision_api.proto); everything else is
handed to Beam's own worker through the environment variables that its containers use, which turns on the
state cache.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE, UNCONFINED_VARIABLE, end_flight
from tillstream.runners.bounds import BOUNDS_VARIABLE, FOLDER_VARIABLE, Bounds
from tillstream.runners.carried import look_in_carried
from tillstream.runners.flink.processes import STAGES_VARIABLE
from tillstream.runners.landlock import ConfinementError, confine
from tillstream.runners.lean_worker import make_lean
from tillstream.runners.naming import name_lines
from tillstream.runners.stopping import obey_stop

__all__ = ["MEMORY_VARIABLE", "limit_memory_mb", "main", "words"]

_GC_THRESHOLD = 500_000
MEMORY_VARIABLE = "TILLSTREAM_HARNESS_MEMORY_MB"


def limit_memory_mb(limit_mb: int) -> None:
    """Make allocations fail past a limit on this process's data, so that one job cannot starve the others.

    Args:
        limit_mb: mebibytes of heap and private mappings (RLIMIT_DATA).
    """
    size = limit_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def words() -> list[str]:
    """Return whose process this is, and which of its stages it runs."""
    text = os.environ.get(BOUNDS_VARIABLE)
    return [
        *([] if text is None else [Bounds.decode(text).client]),
        os.environ.get(STAGES_VARIABLE, "stages"),
    ]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tillstream-harness", description=__doc__)
    parser.add_argument("--id", required=True)
    for service in ("provision", "logging", "artifact", "control"):
        parser.add_argument(f"--{service}_endpoint", default="", required=service == "provision")
    parser.add_argument("--semi_persist_dir", default="/tmp")  # noqa: S108  # Beam's own default
    return parser.parse_known_args(arguments)[0]


def _isolate(semi_persist_dir: str) -> None:
    """Leave this client's code what it may see, and note what it breaks."""
    text = os.environ.get(BOUNDS_VARIABLE)
    if text is None:
        return
    bounds = Bounds.decode(text)
    name_lines(bounds.client)
    base = Path(os.environ.get(FOLDER_VARIABLE) or Path(semi_persist_dir, "tillstream-flights"))
    # A shadow of the client's job runs beside it: what its launches leave is not that job's.
    folder = base / (bounds.job or bounds.client) / str(bounds.launch)
    folder.mkdir(parents=True, exist_ok=True)
    _confine(bounds, folder)
    _forget_launches(folder)
    os.environ[FLIGHTS_VARIABLE] = str(folder)
    # Flink's own way to end a process is no record's fault.
    signal.signal(signal.SIGTERM, _leave)
    obey_stop(folder, bounds.job or bounds.client, bounds.rest_url)


def _confine(bounds: Bounds, folder: Path) -> None:
    secrets = bounds.secrets()
    if secrets is None:
        return
    # Files that are made beside a hidden folder later are hidden too, so temporary ones need another place.
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    try:
        confine(secrets, [*bounds.readable(), folder])
    except ConfinementError as error:
        # Told when there is somewhere to tell it to.
        os.environ[UNCONFINED_VARIABLE] = str(error)


def _forget_launches(folder: Path) -> None:
    for old in folder.parent.iterdir():
        if old != folder and old.name.isdigit() and int(old.name) < int(folder.name):
            shutil.rmtree(old, ignore_errors=True)


def _leave(number: int, frame: object) -> None:  # noqa: ARG001
    end_flight()
    os._exit(128 + number)


def main(given: Sequence[str], is_abandoned: Callable[[], bool]) -> None:
    """Ask the provision service what to run, then be Beam's SDK worker until the job ends.

    Args:
        given: arguments, as Flink gives them.
        is_abandoned: tells whether the TaskManager has ended.
    """
    arguments = _parse(given)
    _isolate(arguments.semi_persist_dir)
    limit = os.environ.get(MEMORY_VARIABLE)
    if limit:
        limit_memory_mb(int(limit))

    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    make_lean()
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = stub.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(), metadata=[("worker_id", arguments.id)]
        ).info

    def address(given: str, provisioned: endpoints_pb2.ApiServiceDescriptor) -> str:
        url = provisioned.url or given
        return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))

    os.environ.update(
        WORKER_ID=arguments.id,
        PIPELINE_OPTIONS=json_format.MessageToJson(info.pipeline_options),
        LOGGING_API_SERVICE_DESCRIPTOR=address(arguments.logging_endpoint, info.logging_endpoint),
        CONTROL_API_SERVICE_DESCRIPTOR=address(arguments.control_endpoint, info.control_endpoint),
        SEMI_PERSISTENT_DIRECTORY=arguments.semi_persist_dir,
        RUNNER_CAPABILITIES=" ".join(info.runner_capabilities),
    )

    from apache_beam.runners.worker import sdk_worker_main

    # Batches make objects by the hundred thousand, none of them in cycles: with Python's default
    # thresholds a fifth of the time goes into looking for garbage that is not there.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 100)
    # Behind Beam's own imports: no name among the client's modules can stand in for one of those.
    look_in_carried(info.dependencies)
    try:
        sdk_worker_main.main(sys.argv)
    except BaseException:
        # Without its TaskManager a process fails, and no record is to blame.
        if is_abandoned():
            end_flight()
        raise
    end_flight()
