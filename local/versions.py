"""Versions of everything that is built from source."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Module:
    """A Go module and the programs built from it.

    Each is built in a separate module, so an upgrade of one cannot change the dependencies of another.
    """

    name: str
    path: str
    version: str
    programs: dict[str, str] = field(default_factory=dict)  # program -> package below the module's path
    ldflags: str = ""
    staged: bool = False  # Kubernetes: its requirements have version v0.0.0 and must be replaced

    @property
    def staging_version(self) -> str:
        """Return the version of the published modules of the Kubernetes source tree."""
        return "v0." + self.version.removeprefix("v1.")


KUBERNETES = "v1.34.4"

_KUBERNETES_LDFLAGS = " ".join(
    f"-X {package}/version.gitVersion={KUBERNETES}"
    for package in ("k8s.io/component-base", "k8s.io/client-go/pkg")
)

MODULES = {
    module.name: module
    for module in (
        Module(
            "kubernetes",
            "k8s.io/kubernetes",
            KUBERNETES,
            {
                program: f"cmd/{program}"
                for program in (
                    "kube-apiserver",
                    "kube-controller-manager",
                    "kube-scheduler",
                    "kubelet",
                    "kube-proxy",
                    "kubectl",
                )
            },
            _KUBERNETES_LDFLAGS,
            staged=True,
        ),
        Module("etcd", "go.etcd.io/etcd/server/v3", "v3.6.4", {"etcd": ""}),
        Module("coredns", "github.com/coredns/coredns", "v1.14.7", {"coredns": ""}),
        Module(
            "local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
            "v0.0.30",
            {"local-path-provisioner": ""},
        ),
        # Built on demand: the S3 server of the backup tests, and Helm.
        Module("versitygw", "github.com/versity/versitygw", "v1.8.0", {"versitygw": "cmd/versitygw"}),
        Module("helm", "helm.sh/helm/v3", "v3.19.0", {"helm": "cmd/helm"}),
    )
}

CONTROL_PLANE = ("kubernetes", "etcd")
CLUSTER = (*CONTROL_PLANE, "coredns", "local-path-provisioner")

DEBIAN_SUITE = "trixie"
POSTGRES_MAJOR = 17
PGBOUNCER = "1.26"
