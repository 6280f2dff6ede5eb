"""The installation of the operator as data: permissions, Deployment, reference pages, chart files.

Nothing here runs in the operator's process; `python -m pgoperator.generate` writes the files.
"""
