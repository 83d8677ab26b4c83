"""Run a store that speaks S3, and give Flink the plugin that speaks it too.

moto stands in for S3: its server keeps objects in this process. Flink, its plugin and Beam's reader are real.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.toolchain import JAVA_FOLDER, cache_folder

__all__ = ["S3", "flink_plugins"]

# The other one, flink-s3-fs-presto, takes the same settings, and is three times as large.
_PLUGIN = "org.apache.flink:flink-s3-fs-hadoop:1.19.3"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_BUCKET = "state"


class S3:
    """Be a store with one bucket, at an address of this machine."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.address = f"http://{host}:{port}"
        self.folder = f"s3://{_BUCKET}/flink"
        # As a pod has them; they also lead whatever of this process asks S3.
        self.environment = {
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_S3": self.address,
        }

    def make_bucket(self) -> None:
        """Make the bucket; needs `environment`."""
        place = {"LocationConstraint": self.environment["AWS_DEFAULT_REGION"]}
        boto3.client("s3").create_bucket(Bucket=_BUCKET, CreateBucketConfiguration=place)

    def names(self) -> list[str]:
        """Return the names of all objects."""
        found = boto3.client("s3").list_objects_v2(Bucket=_BUCKET).get("Contents", [])
        return [str(each["Key"]) for each in found]

    def close(self) -> None:
        """End it."""
        self._server.stop()


def flink_plugins() -> Path:
    """Return a folder of Flink's plugins with the one for S3, fetched once."""
    target = cache_folder() / f"plugins-{_PLUGIN.rpartition(':')[2]}"
    jars = target / "s3-fs-hadoop"
    if not jars.is_dir():
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        command = ["sh", str(JAVA_FOLDER / "mvnw"), "-B", "-N", "-q", _COPY, f"-Dartifact={_PLUGIN}"]
        subprocess.run(
            [*command, f"-DoutputDirectory={part / jars.name}"], cwd=JAVA_FOLDER, check=True, timeout=600
        )
        part.rename(target)
    return target
