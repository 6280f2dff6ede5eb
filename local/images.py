"""Builds the images without Docker: a Debian base with mmdebstrap, then the Dockerfiles with buildah."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local import host, pip_config
from local.console import step
from local.paths import CACHE, IMAGES, REPOSITORY
from local.shell import lock, logged, output, scratch, succeeds, write
from local.versions import DEBIAN_SUITE, PGBOUNCER, POSTGRES_MAJOR

PREFIX = "localhost/pgoperator"
DEBIAN = f"{PREFIX}/debian:{DEBIAN_SUITE}"
PAUSE = f"{PREFIX}/pause:local"
BUSYBOX = f"{PREFIX}/busybox:local"
POSTGRES = f"{PREFIX}/postgres:{POSTGRES_MAJOR}"
PGBOUNCER_IMAGE = f"{PREFIX}/pgbouncer:{PGBOUNCER}"
OPERATOR = f"{PREFIX}/operator:dev"
PYTHON = f"{PREFIX}/python:local"
EXPORTERS = f"{PREFIX}/exporters:local"

# Separate storage, so that these images do not mix with other images of the user.
_BUILDAH = ("buildah", "--root", CACHE / "containers" / "storage", "--runroot", CACHE / "containers" / "run")
_CACHED_LAYERS = 100
_DEBIAN_OPTIONS = (
    "--variant=minbase",
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "lintian", "locale", "man")),
    "--dpkgopt=path-include=/usr/share/locale/locale.alias",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)


_DEBIAN_DIGEST = hashlib.sha256(repr((DEBIAN_SUITE, _DEBIAN_OPTIONS)).encode()).hexdigest()
_DEBIAN_STAMP = IMAGES / "debian.hash"


@dataclass(frozen=True)
class Image:
    """One image: its Dockerfile and the sources that its content depends on."""

    name: str
    dockerfile: str
    base: str = DEBIAN
    sources: tuple[str, ...] = ()  # files and folders of the repository that the build copies
    target: str = ""
    on_nodes: bool = True

    @property
    def archive(self) -> Path:
        """Return the tar file that the nodes import."""
        return IMAGES / f"{slug(self.name)}.tar"


ALL = {
    image.name: image
    for image in (
        Image(PAUSE, "images/node/Dockerfile", target="pause"),
        Image(BUSYBOX, "images/node/Dockerfile", target="busybox"),
        Image(PYTHON, "images/python/Dockerfile", on_nodes=False),
        Image(PGBOUNCER_IMAGE, "images/pgbouncer/Dockerfile"),
        Image(POSTGRES, "images/postgres/Dockerfile"),
        Image(EXPORTERS, "images/exporters/Dockerfile"),
        Image(
            OPERATOR,
            "Dockerfile",
            base=PYTHON,
            sources=(".dockerignore", "requirements/runtime.txt", "pgoperator", "reconcilers"),
        ),
    )
}
SYSTEM = (PAUSE, BUSYBOX)
PRODUCT = (PGBOUNCER_IMAGE, POSTGRES, OPERATOR)


def slug(name: str) -> str:
    """Return the file name for an image's name."""
    return name.rpartition("/")[2].replace(":", "-")


def source_files(root: Path, sources: Iterable[str]) -> Iterator[Path]:
    """Yield the source files of an image in a stable order, without bytecode caches."""
    for source in sources:
        path = root / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def digest(image: Image, root: Path = REPOSITORY) -> str:
    """Return the digest of all inputs of an image; an equal digest needs no build."""
    hashed = hashlib.sha256()
    base = ALL.get(image.base)
    hashed.update((digest(base, root) if base else _DEBIAN_DIGEST).encode())
    hashed.update(image.target.encode())
    for file in source_files(root, (image.dockerfile, *image.sources)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        executable = os.access(file, os.X_OK)
        hashed.update(f"\0{file.relative_to(root)}\0{executable}\0{content}".encode())
    return hashed.hexdigest()


def is_built(image: Image) -> bool:
    """Return whether the archive exists and was built from the current sources."""
    return image.archive.is_file() and recorded_digest(image) == digest(image)


def build(names: Iterable[str]) -> None:
    """Build the named images that are missing or out of date."""
    wanted = [ALL[name] for name in names]
    if all(map(is_built, wanted)):
        return
    host.install_packages(host.IMAGE_PACKAGES)
    with lock("images"):
        for image in wanted:
            if not is_built(image):
                _build(image)


def recorded_digest(image: Image) -> str:
    """Return the digest of the inputs of the existing archive, "" without one."""
    file = image.archive.with_suffix(".hash")
    return file.read_text() if file.is_file() else ""


def _in_storage(name: str) -> bool:
    return succeeds([*_BUILDAH, "inspect", "--type", "image", name])


def _build(image: Image) -> None:
    _ensure_base(image)
    built_from = digest(image)  # before the build: a file that changes during the build causes another build
    with step(f"build image {image.name}"), scratch("image") as folder:
        configured = [*pip_config.mounts(folder), _apt_mount(folder)]
        mounts = [f"--volume={source}:{target}:ro" for source, target in configured]
        target = [f"--target={image.target}"] if image.target else []
        log = f"image-{slug(image.name)}"
        logged(
            [
                *(*_BUILDAH, "build", "--layers", "--isolation=chroot", "--network=host"),
                *(*mounts, *target, f"--build-arg=BASE={image.base}", f"--tag={image.name}"),
                f"--file={REPOSITORY / image.dockerfile}",
                REPOSITORY if image.sources else (REPOSITORY / image.dockerfile).parent,
            ],
            log,
        )
        if image.on_nodes:
            archive = folder / "image.tar"
            logged([*_BUILDAH, "push", image.name, f"docker-archive:{archive}:{image.name}"], log)
            IMAGES.mkdir(parents=True, exist_ok=True)
            archive.rename(image.archive)
        else:
            write(image.archive, "")
        write(image.archive.with_suffix(".hash"), built_from)
    _prune()


def _apt_mount(folder: Path) -> tuple[Path, str]:
    """Let apt use a mirror that is a few weeks old; it still verifies the signatures."""
    config = folder / "apt.conf"
    write(config, 'Acquire::Check-Valid-Until "false";\n')
    return config, "/etc/apt/apt.conf.d/90old-mirror"


def _ensure_base(image: Image) -> None:
    base = ALL.get(image.base)
    if base:
        if not (is_built(base) and _in_storage(base.name)):
            _build(base)
    elif not (
        _DEBIAN_STAMP.is_file() and _DEBIAN_STAMP.read_text() == _DEBIAN_DIGEST and _in_storage(DEBIAN)
    ):
        with step(f"build image {DEBIAN}"):
            _build_debian()


def _build_debian() -> None:
    log = "image-debian"
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with scratch("debian") as folder:
        tar = folder / "root.tar"
        logged(["mmdebstrap", *_DEBIAN_OPTIONS, DEBIAN_SUITE, tar], log)
        container = output([*_BUILDAH, "from", "scratch"]).strip()
        logged([*_BUILDAH, "add", container, tar, "/"], log)
        logged([*_BUILDAH, "config", "--cmd", '["/bin/bash"]', "--env", path, container], log)
        logged([*_BUILDAH, "commit", "--rm", container, DEBIAN], log)
    write(_DEBIAN_STAMP, _DEBIAN_DIGEST)


def _prune() -> None:
    """Delete the cached layers when there are too many; the next build fills the cache again."""
    untagged = output([*_BUILDAH, "images", "--quiet", "--filter=dangling=true"]).split()
    if len(untagged) > _CACHED_LAYERS:
        succeeds([*_BUILDAH, "rmi", "--prune"])
