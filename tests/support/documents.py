"""The documents as data: links and code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(
    r"^(?:<!-- (?:test: (?P<name>[a-z0-9-]+)|not run: (?P<reason>\S[^\n]+)) -->\n)?"
    r"(?P<fence>```+)(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block, with the `name` of its test or the `reason` why it is not run, from its marker."""

    page: str
    line: int
    language: str
    text: str
    name: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """Return the place of the block."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return every Markdown file of the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("charts/*/*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def read(page: str) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = read(page)
    return [
        Block(
            page,
            text.count("\n", 0, m.start()) + 1,
            m["language"],
            m["text"],
            m["name"] or "",
            m["reason"] or "",
        )
        for m in _BLOCK.finditer(text)
    ]


def shell_blocks(page: str) -> list[Block]:
    """Return the shell blocks."""
    return [block for block in blocks(page) if block.language in ("sh", "bash")]


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _BLOCK.sub("", read(page))


def links(page: str) -> list[str]:
    """Return the targets of a page's links."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts generate them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
