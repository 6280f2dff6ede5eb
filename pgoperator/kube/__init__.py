"""The only package that accesses the API server; manifests are dicts.

Reading order: manifest, kinds, errors, access, transport, client, exec, store, watch, compare, apply, events,
lease.
"""
