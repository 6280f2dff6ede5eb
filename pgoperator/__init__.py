"""The operator's runtime, its custom resources and shared PostgreSQL code."""

__version__ = "0.1.0"
