"""See that the packages that a job takes transforms from are, where it runs, those that it was built with."""

from __future__ import annotations

import json
import os
from importlib import metadata

from tillstream.pipelines.errors import TransformError

__all__ = ["PACKAGES_VARIABLE", "check_packages"]

PACKAGES_VARIABLE = "TILLSTREAM_PACKAGES"


def check_packages() -> None:
    """See that each installed package has the version that the launched template was built with.

    Raises:
        TransformError: if one has another, or is not installed.
    """
    wanted: dict[str, str] = json.loads(os.environ.get(PACKAGES_VARIABLE) or "{}")
    for name, version in wanted.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            raise TransformError(
                f"package {name}: found version {found} where the job runs, expected {version}, as its "
                f"template was built: install {name}=={version} there, or build the template again"
            )
