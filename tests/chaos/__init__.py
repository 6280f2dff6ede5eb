"""Faults under load, and what a history of unique appends says about them.

Read `strikes.py` (the faults), `appender.py` (what runs inside the client pods), `history.py` (the judgement,
pure), `verdict.py` (the table), `trial.py` (one fault from beginning to end).
"""
