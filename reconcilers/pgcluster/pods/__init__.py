"""The common parts of all pods, and the user's additions to them.

Imports `state` only; all modules are pure and may be imported everywhere.
Start with `build_pod.pod_spec`, then `build_customization.extend`.
"""
