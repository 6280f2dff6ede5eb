"""The contract of the custom resources as data: one `Row` for each path, with the rules for this path.

`contract.tsv` has the columns path, type, required and constraints. They are facts about the definitions of
Percona Operator 3.1: which fields exist, their types, defaults, limits and CEL rules. Descriptions and the
messages of CEL rules are not part of the contract; ours are our own.

To take over the contract of another version, list the fields of its definitions in a file with the same four
columns and run `python tests/unit/api/contract.py FILE`. Messages of CEL rules (` | message`) are removed.
"""

import ast
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

OWN = Path(__file__).with_name("contract.tsv")

NUMBERS = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"}


@dataclass(frozen=True)
class Row:
    path: str
    type: str
    required: bool
    constraints: str

    @property
    def line(self) -> str:
        return "\t".join((self.path, self.type, "required" if self.required else "", self.constraints))

    @property
    def rules(self) -> list[str]:
        return [text for name, text in self._parts() if name == "CEL"]

    @property
    def keywords(self) -> dict[str, Any]:
        """The constraints as keywords of a schema, CEL apart."""
        found: dict[str, Any] = {}
        for name, text in self._parts():
            match name:
                case "enum":
                    found["enum"] = ast.literal_eval(text)
                case "list-map-keys":
                    found["x-kubernetes-list-map-keys"] = ast.literal_eval(text)
                case "list-type":
                    found["x-kubernetes-list-type"] = text
                case "default":
                    found["default"] = self._default(text)
                case _ if name in NUMBERS:
                    found[name] = int(text)
                case "pattern" | "format":
                    found[name] = text
                case "CEL":
                    pass
                case _:
                    raise AssertionError(f"{self.path}: {name}")
        return found

    def _default(self, text: str) -> Any:
        if self.type == "integer":
            return int(text)
        return text == "True" if self.type == "boolean" else text

    def _parts(self) -> list[tuple[str, str]]:
        """Split `name=value; CEL: rule; …`; patterns hold semicolons, but never with a blank behind."""
        parts: list[tuple[str, str]] = []
        for part in filter(None, self.constraints.split("; ")):
            if part.startswith("CEL: "):
                parts.append(("CEL", part.removeprefix("CEL: ").strip()))
            else:
                name, _, value = part.partition("=")
                parts.append((name, value))
        return parts


def read(file: Path = OWN) -> list[Row]:
    rows = []
    for line in file.read_text().splitlines()[1:]:
        path, kind, required, constraints = line.split("\t")
        rows.append(Row(path, kind, required == "required", constraints))
    return rows


def write(source: Path) -> None:
    """Write `contract.tsv` from a list of fields, without the messages of CEL rules."""
    lines = ["path\ttype\trequired\tconstraints"]
    for row in read(source):
        parts = row.constraints.split("; ")
        lines.append(replace(row, constraints="; ".join(map(_without_message, parts))).line)
    OWN.write_text("\n".join(lines) + "\n")


def _without_message(part: str) -> str:
    return part.split(" | ", maxsplit=1)[0] if part.startswith("CEL: ") else part


if __name__ == "__main__":
    write(Path(sys.argv[1]))
