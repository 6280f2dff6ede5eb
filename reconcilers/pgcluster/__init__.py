"""A PerconaPGCluster.

Reading order, which is that of a pass:

* `observe`, `plan`, `secrets` (with `brought`, `certificates`, `credentials`): what is there, which instances
  shall be, what they need;
* `steps`: `access`, `services`, `configuration`, `repository`, `instances`, `pgbouncer`, `disruption`, each a
  pure function from the `view` to manifests, with `pods` for what their pods share;
* acts, which change what is not a manifest: `patroni`, `databases`, `scaling`, `changing`, `stanza`;
* what `changing` carries out: `rollout`, `restarts`, `switchover` decide, `handover` does; `pausing`;
* `status` and `problems`: what is told of it; `deletion`: the end; `watches`: what wakes a pass.

`controller` puts them together.
"""

from reconcilers.pgcluster.controller import PGClusters
from reconcilers.pgcluster.watches import watches

__all__ = ["PGClusters", "watches"]
