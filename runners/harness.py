"""Start one Beam SDK harness for Flink's process environment.

Flink's TaskManager starts this command for each job with the addresses of its services. The job's options
come from the provision service (beam_provision_api.proto); everything else is handed to Beam's own
worker through the environment variables that its containers use, which turns on the state cache.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys

__all__ = ["MEMORY_VARIABLE", "limit_memory_mb", "main"]

_GC_THRESHOLD = 500_000
MEMORY_VARIABLE = "TILLSTREAM_HARNESS_MEMORY_MB"


def limit_memory_mb(limit_mb: int) -> None:
    """Make allocations fail past a limit on this process's data, so that one job cannot starve the others.

    Args:
        limit_mb: mebibytes of heap and private mappings (RLIMIT_DATA).
    """
    size = limit_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tillstream-harness", description=__doc__)
    parser.add_argument("--id", required=True)
    for service in ("provision", "logging", "artifact", "control"):
        parser.add_argument(f"--{service}_endpoint", default="", required=service == "provision")
    parser.add_argument("--semi_persist_dir", default="/tmp")  # noqa: S108  # Beam's own default
    return parser.parse_known_args(arguments)[0]


def main() -> None:
    """Ask the provision service what to run, then be Beam's SDK worker until the job ends."""
    arguments = _parse(sys.argv[1:])
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
    sdk_worker_main.main(sys.argv)
