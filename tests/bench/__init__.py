"""Measurements on the local Kubernetes, printed beside those of the original. They never fail on a time."""
