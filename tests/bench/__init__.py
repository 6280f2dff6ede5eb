"""Measurements on the local Kubernetes, printed beside those of Percona Operator. No time is asserted."""
