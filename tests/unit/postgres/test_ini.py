"""The INI dialect."""

import pytest

from pgoperator.errors import InvalidSpec
from pgoperator.postgres import ini


def test_sections_keep_their_order_and_keys_are_sorted() -> None:
    assert ini.render({"b": {"y": "2", "x": " 1 = [#;"}, "a": {}, "a:b": {"e": ""}}) == (
        "[b]\nx =  1 = [#;\ny = 2\n\n[a]\n\n[a:b]\ne =\n"
    )


@pytest.mark.parametrize(
    "sections",
    [
        {"a": {"x": "1\ny = 2"}},
        {"a": {"x": "1\r"}},
        {"a": {"x": "\0"}},
        {"a": {"x\ny": "1"}},
        {"a": {"x = 1": "1"}},
        {"a": {"[b]": "1"}},
        {"a": {"": "1"}},
        {"a]\n[b": {}},
        {"": {}},
    ],
)
def test_nothing_can_smuggle_in_a_line(sections: dict[str, dict[str, str]]) -> None:
    with pytest.raises(InvalidSpec):
        ini.render(sections)
