"""The controller runtime, independent of the kinds it serves.

Reading order: result, source, queue, controller, manager, server. A watch event passes `Watch.keep` and
`Watch.to_keys` and reaches the `WorkQueue` of each subscribed controller as a key. A worker takes the key and
calls `reconcile`, which reads the current state itself: an event is a trigger and carries no state.
"""
