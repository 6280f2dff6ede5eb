"""The input of a pass: the snapshot of existing objects, the builders' `View`, and the cache between passes.

Imports no other package of `pgcluster`.
Start with `view`, then `observe` and `cache`. `provenance` and `primary_mark` protect against data loss.
"""
