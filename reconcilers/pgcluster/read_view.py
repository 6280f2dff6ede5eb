"""Read: the view of a pass, first without Secrets, on which backups do not depend."""

from dataclasses import replace

from pgoperator.api.cluster import PGCluster
from pgoperator.context import Context
from pgoperator.kube.manifest import Manifest
from reconcilers.pgcluster.backups import decide_removal
from reconcilers.pgcluster.bootstrap import decide_restore_gate, decide_source
from reconcilers.pgcluster.credentials import act_secrets, build_certificates, read_references
from reconcilers.pgcluster.instances import decide_membership
from reconcilers.pgcluster.lifecycle import decide_pause
from reconcilers.pgcluster.state import major_version, primary_mark, provenance
from reconcilers.pgcluster.state import observe as state
from reconcilers.pgcluster.state.cache import ClusterCache
from reconcilers.pgcluster.state.view import View, with_primary


async def observe(ctx: Context, cluster: PGCluster, manifest: Manifest) -> View:
    """Observe and plan the instances; the view has no Secrets yet."""
    name, namespace = cluster.metadata.name, cluster.metadata.namespace
    observed = state.observe(ctx.store, namespace, name)
    cluster, wrong_version = major_version.in_force(cluster, observed)
    backups_enabled = decide_removal.backups_enabled(cluster, observed)
    sizes = {s.name: s.replicas for s in cluster.spec.instance_sets()}
    has_data = provenance.has_data(cluster, observed)
    restore = decide_restore_gate.active(ctx.store, namespace, name, has_data=has_data)
    restore = restore or decide_source.held(ctx.store, cluster, observed)
    planned = decide_membership.planned(name, sizes, observed)
    planned = decide_restore_gate.arrange(name, planned, restore, cluster.spec.instance_sets())
    primary_mark.check(observed, planned)
    return View(
        cluster=cluster,
        manifest=manifest,
        observed=observed,
        settings=ctx.settings,
        backups_enabled=backups_enabled,
        planned=planned,
        now=ctx.clock(),
        secrets={},
        user_secrets={},
        restoring=restore,
        unusable=wrong_version,
        paused=cluster.spec.pause and restore is None and not decide_pause.is_busy(ctx.store, cluster),
    )


async def with_secrets(ctx: Context, view: View, cache: ClusterCache) -> View:
    """Complete the Secrets; all later steps are deterministic."""
    cluster, backups_enabled = view.cluster, view.backups_enabled
    domain = cluster.spec.cluster_service_dns_suffix or ctx.settings.cluster_domain
    names = build_certificates.Names(view.name, view.namespace, domain)
    served = with_primary(view.planned, view.observed)
    # Recorded before the Secrets are read: a later change starts another pass.
    cache.secrets = read_references.secrets(cluster, served, backups_enabled=backups_enabled)
    secrets = await act_secrets.complete(
        ctx, cluster, names, served, view.now, backups_enabled=backups_enabled, version=view.cr_version
    )
    return replace(
        view,
        secrets=secrets.data,
        user_secrets=secrets.by_user,
        unusable=(*view.unusable, *secrets.problems),
        referenced=await read_references.digests(ctx, cluster, backups_enabled=backups_enabled),
        missing_libraries=cache.sql.facts.missing_libraries if cache.sql.facts else None,
    )
