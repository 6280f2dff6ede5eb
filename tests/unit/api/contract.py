"""The contract of the custom resources as data: one `Row` for each path, with what must hold there.

`contract.tsv` has the columns path, type, required and constraints. It is the file `crd-fields.tsv` of the
project's reference with the sentences of the CEL rules left out: the rules are the contract, their messages
are ours.
"""

import ast
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWN = Path(__file__).with_name("contract.tsv")
ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("PGOPERATOR_SHARED") or ROOT.parent / "shared")
REFERENCE = SHARED / "reference" / "crd-fields.tsv"

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
        parts = []
        for part in filter(None, self.constraints.split("; ")):
            if part.startswith("CEL: "):
                parts.append(("CEL", part.removeprefix("CEL: ").strip()))
            else:
                name, _, value = part.partition("=")
                parts.append((name, value))
        return parts


def read(file: Path) -> list[Row]:
    rows = []
    for line in file.read_text().splitlines()[1:]:
        path, kind, required, constraints = line.split("\t")
        rows.append(Row(path, kind, required == "required", constraints))
    return rows


def reference() -> list[Row]:
    """The rows of the project's reference, without the messages of rules."""
    return [
        Row(row.path, row.type, row.required, "; ".join(map(_without_message, row.constraints.split("; "))))
        for row in read(REFERENCE)
    ]


def _without_message(part: str) -> str:
    return part.split(" | ", maxsplit=1)[0] if part.startswith("CEL: ") else part


def write() -> None:
    """Derive the file anew: `python tests/unit/api/contract.py`."""
    OWN.write_text(
        "\n".join(["path\ttype\trequired\tconstraints", *(row.line for row in reference())]) + "\n"
    )


if __name__ == "__main__":
    write()
