"""What installs the operator, as data: permissions, the Deployment, and the files made of them.

Nothing here runs in the operator's process; `python -m pgoperator.generate` writes the files.
"""
