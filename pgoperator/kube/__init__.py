"""The only package that speaks to the API server; manifests are dicts, in and out.

Reading order: manifest, kinds, errors, access, transport, client, exec, store, watch, compare, apply, events,
lease.
"""
