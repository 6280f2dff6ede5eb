"""The INI dialect of pgBackRest and pgBouncer: `[section]` and `key = value`, one line each."""

from collections.abc import Mapping

from pgoperator.errors import InvalidSpec

_BREAKS = "\n\r\0"


def render(sections: Mapping[str, Mapping[str, str]]) -> str:
    """Render the sections in their order with sorted keys, so that equal settings give equal text.

    `InvalidSpec` for a name or value with a line break or NUL, which could inject another setting.
    """
    blocks = []
    for section, settings in sections.items():
        _check(section, section, banned=_BREAKS + "[]")
        lines = [f"[{section}]"]
        for key in sorted(settings):
            _check(key, key, banned=_BREAKS + "=[];#")
            _check(key, settings[key], banned=_BREAKS)
            lines.append(f"{key} = {settings[key]}".rstrip())
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _check(name: str, text: str, *, banned: str) -> None:
    if any(character in text for character in banned) or not name.strip():
        raise InvalidSpec(f"the setting {name!r} has a character that a configuration file cannot contain")
