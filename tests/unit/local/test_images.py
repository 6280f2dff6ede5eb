import shutil
from pathlib import Path

import pytest

from local.images import ALL, OPERATOR, POSTGRES, Image, digest, slug, source_files

IMAGE = Image("localhost/pgoperator/example:1", "Dockerfile", sources=("code",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "code" / "inner").mkdir(parents=True)
    (tmp_path / "code" / "inner" / "a.py").write_text("one = 1\n")
    return tmp_path


def test_same_content_elsewhere_and_later_has_the_same_digest(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(root, other)
    (other / "Dockerfile").touch()
    assert digest(IMAGE, other) == digest(IMAGE, root)


@pytest.mark.parametrize("path", ["Dockerfile", "code/inner/a.py"])
def test_changed_content_changes_the_digest(root: Path, path: str) -> None:
    before = digest(IMAGE, root)
    with (root / path).open("a") as file:
        file.write("# changed\n")
    assert digest(IMAGE, root) != before


def test_moved_file_changes_the_digest(root: Path) -> None:
    before = digest(IMAGE, root)
    (root / "code" / "inner" / "a.py").rename(root / "code" / "a.py")
    assert digest(IMAGE, root) != before


def test_executable_bit_changes_the_digest(root: Path) -> None:
    before = digest(IMAGE, root)
    (root / "code" / "inner" / "a.py").chmod(0o755)
    assert digest(IMAGE, root) != before


def test_bytecode_is_not_part_of_an_image(root: Path) -> None:
    before = digest(IMAGE, root)
    cache = root / "code" / "__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_bytes(b"x")
    assert digest(IMAGE, root) == before


def test_target_is_part_of_the_digest(root: Path) -> None:
    other = Image(IMAGE.name, IMAGE.dockerfile, sources=IMAGE.sources, target="busybox")
    assert digest(other, root) != digest(IMAGE, root)


def test_every_source_of_every_image_exists() -> None:
    for image in ALL.values():
        assert list(source_files(Path.cwd(), (image.dockerfile, *image.sources)))


def test_archives_have_names_of_their_own() -> None:
    assert slug(POSTGRES) == "postgres-17"
    assert slug(OPERATOR) == "operator-dev"
    assert len({image.archive for image in ALL.values()}) == len(ALL)
