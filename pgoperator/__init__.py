"""The operator's machinery, its custom resources and shared facts about PostgreSQL."""

__version__ = "0.1.0"
