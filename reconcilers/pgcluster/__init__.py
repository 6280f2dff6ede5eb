"""The reconciler of a PerconaPGCluster: a package for each component, a module for each task.

The prefix of a module shows what it does: `build_` maps the View to manifests and `decide_` chooses a step
(both are pure), `act_` changes something, `read_` reads live objects, `conditions` reports.

Reading order, which is that of a pass:

* `controller`: the pass itself; `watches`: which events start it;
* `lifecycle.read_other_owner`: whether the cluster is this operator's at all;
* `read_view`: makes the View of a pass, the input of all builders, with the next two;
* `state`: `observe` takes the snapshot, `view` has the View;
* `instances.decide_membership` plans the instances; `credentials` completes the Secrets;
* `pipeline.BUILDERS`: pure builders of all objects (`instances`, `patroni`, `backups`, `pooler`, with `pods`
  for the common parts of pods); `apply` writes and prunes the objects;
* `pipeline.ACTIONS`: all changes that are not in a manifest (`bootstrap`, `lifecycle`, `patroni`, `database`,
  `pooler`, `credentials`, `instances`, `rollout`);
* `status`: status, conditions and events; then `backups.act_stanza` and `backups.act_backups`;
* `lifecycle.act_deletion`: the pass of a cluster that is being deleted.

Imports: `state` imports no other package, `pods` only `state`; all packages may import both. `build_`,
`decide_` and `conditions` modules import no `act_` or `read_` module. There are two exceptions, which use
pure parts of `credentials.read_user_secrets`: `credentials.build_certificates` and
`lifecycle.decide_ownership`. `status` imports no action.
"""

from reconcilers.pgcluster.controller import PGClusters
from reconcilers.pgcluster.watches import watches

__all__ = ["PGClusters", "watches"]
