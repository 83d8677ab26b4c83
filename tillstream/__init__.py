"""Run retail change streams: an Apache Beam pipeline template on Flink, one job per client."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("tillstream")
