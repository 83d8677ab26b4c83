"""Try a new version beside the running one: same input, no sink touched, outputs compared."""

from tillstream.runners.jobs.canary.options import CanaryOptions
from tillstream.runners.jobs.canary.run import run_canary
from tillstream.runners.jobs.canary.verdict import CanaryVerdict

__all__ = ["CanaryOptions", "CanaryVerdict", "run_canary"]
