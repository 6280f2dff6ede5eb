"""The local Kubernetes for development and tests: real components, without Docker, in one command.

It uses only the standard library, so any Python >= 3.11 can run it before a virtual environment exists.
"""
