"""Random lives of clusters: steps of people and of bad luck on real pods, judged by an independent model.

Read `model.py` (what must be in the table, pure), `claims.py` (what the status may claim, pure), `choose.py`
(which step comes next, pure), then `life.py` (one life), `steps.py`, `strikes.py` and `restores.py` (the
steps).
"""
