"""The plan of a takeover: what would become of a cluster that Percona's operator runs, and what forbids it.

Nothing is written: the objects are read once, and this operator's own code runs on them with a client whose
writes the API server only checks. Start with `read_plan.plan`. `plan` has the parts of a plan; the `decide_`
modules find them: `decide_owner` whose the objects are, `decide_features` what of the spec stands against it,
`decide_health` whether the cluster is well and quiet now, `decide_objects` what becomes of each object.
`build_report` writes the text. Imports every package below the controller; only the command line imports it.
"""
