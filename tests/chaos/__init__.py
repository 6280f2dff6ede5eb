"""Faults under load, judged by a history of unique appends.

Read `strikes.py` (the faults), `appender.py` (runs inside the client pods), `history.py` (the judgement,
pure), `verdict.py` (the table), `trial.py` (one fault from beginning to end).
"""
