"""Custom resources as users write them, in tests/samples."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "samples"


def sample(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return manifest
