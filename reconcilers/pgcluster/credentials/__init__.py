"""Passwords, certificates and other Secrets of a cluster, and objects of the user that pods refer to.

Imports `state`, `pods.build_customization` and `database.decide_users`.
Start with `act_secrets.complete`, then `build_passwords` and `build_certificates`.
"""
