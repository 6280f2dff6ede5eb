"""The local Kubernetes for development and tests: real components, no Docker, one command.

Only the standard library is used, so that any Python >= 3.11 runs it before a venv exists.
"""
