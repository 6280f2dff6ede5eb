"""Figures of Percona Operator on this class of machine: 2 cores, 24 GiB, three nodes, the same images.

Percona Operator for PostgreSQL 3.1-dev (Go), unmodified, default custom resource without log collector: three
instances, three pgBouncers, one volume repository. Absolute times drift from machine to machine: compare the
order of magnitude. CloudNativePG 1.30 ran three instances without pooler and backups.
"""

CREATION = (
    "21 s and about 31 s where replicas copied before the first backup; 102 to 117 s in four runs where not"
)
FIRST_PRIMARY = "11 to 13 s"
CREATION_REQUESTS = "1117: 500 patch, 373 get, 108 list, 58 update, 48 delete, 30 create"
IDLE_180 = "55: 36 create pods/exec, 18 lease updates, 1 watch"
MEMORY_ONE = "85 to 87 MB, 3 s of CPU in 5 min"
GAPS = {
    "pod deleted gracefully": "2.7, 2.8, 15.3, 15.3",
    "pod deleted by force": "15.5, 15.6, 15.8, 15.8",
    "main process killed -9": "2.8, 3.1, 3.3, 3.8",
    "node cut off": "40 in one run; in another none acknowledged within 75",
}
GOALS = {
    "pod deleted gracefully": "3",
    "pod deleted by force": "3",
    "main process killed -9": "3",
    "node cut off": "as short as Patroni's lease of 30 s and period of 10 s allow",
}
FLEET_ALL_EXIST = "173 s for 200 clusters (34 s for 50)"
FLEET_REQUESTS = "29,078"
FLEET_CPU = "51 s"
FLEET_MEMORY = "298 MB, 321 MB later; 1.05 MB for each further cluster"
FLEET_ONE_MORE = "104 s"
FLEET_IDLE_60 = "with 50 clusters: 3235 requests, 5.7 CPU s"
CNPG_CREATION = "21 s to the first instance, 63 s to all three, 452 requests; idle 120 s: 85 requests; 71 MB"
CNPG_GAPS = "gracefully 2.1, by force 2.6, main process killed 8.5"
LIMITS = "initdb 0.8 s, server start 0.1 s, base backup 0.5 s, a pod's start 1 to 2 s"
