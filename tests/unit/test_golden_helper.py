"""The helper that compares with golden files shows the difference."""

from pathlib import Path

import pytest

from tests.support import golden

ONE = {"kind": "A", "metadata": {"name": "x"}, "data": {"text": "a\nb\n"}}


def test_what_was_written_is_found_equal(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.yaml"
    golden.compare("text", path, update=True)
    assert path.read_text() == "text"
    golden.compare("text", path, update=False)
    with pytest.raises(pytest.fail.Exception):
        golden.compare("other text", path, update=False)
    assert path.read_text() == "text", "a comparison writes nothing"


def test_a_difference_fails_and_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("a: 1\n")
    with pytest.raises(pytest.fail.Exception, match=r"\+a: 2"):
        golden.compare("a: 2\n", path, update=False)


def test_a_missing_file_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="does not exist"):
        golden.compare("", tmp_path / "none.yaml", update=False)


def test_order_and_sharing_do_not_matter() -> None:
    shared = {"a": 1}
    two = {"kind": "A", "metadata": {"name": "b"}, "x": shared, "y": shared}
    assert golden.render([ONE, two]) == golden.render([two, ONE])
    assert "&id" not in golden.render([two])


def test_texts_of_several_lines_stay_readable() -> None:
    assert "text: |\n    a\n    b\n" in golden.render([ONE])


def test_a_frozen_file_is_written_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden, "DIRECTORY", tmp_path)
    monkeypatch.setattr(golden, "_updating", True)
    golden.assert_frozen([ONE], "frozen/1.0.0/one")
    golden.assert_frozen([ONE], "frozen/1.0.0/one")
    with pytest.raises(pytest.fail.Exception, match="would restart"):
        golden.assert_frozen([ONE | {"data": {}}], "frozen/1.0.0/one")
    golden.assert_golden([ONE | {"data": {}}], "frozen/1.0.0/one")
