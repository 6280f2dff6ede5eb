"""The machinery of controllers; it knows no kind.

Reading order: result, source, queue, controller, manager, server. A watch event goes through `Watch.keep` and
`Watch.to_keys` to the `WorkQueue` of each controller that asked; a worker takes the key, and `reconcile`
reads everything it needs by itself: an event says that something has changed, never what.
"""
