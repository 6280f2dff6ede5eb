"""A hook of MkDocs: pages by pattern, and links that leave docs/.

mkdocs.yml names the sections with patterns, which are expanded here. A file of the repository that a page
links to is copied into the site, as a page if it is Markdown. A folder that a page links to gets an index.
"""

import posixpath
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
PROJECT = "project"
"""The folder of the site for what lies outside docs/."""

_LINK = re.compile(r"(?P<text>\[[^\]]*\])\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"^(```+).*?^\1$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\A<!--.*?-->\s*", re.DOTALL)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside docs/, and expand the patterns of the navigation."""
    todo = [file.src_uri for file in files.documentation_pages()]
    while todo:
        for target in sorted(_targets(todo.pop())):
            uri = _uri(target)
            if files.get_file_from_path(uri):
                continue
            if (ROOT / target).is_dir():
                files.append(File.generated(config, uri, content=_index(target)))
            elif (ROOT / target).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
                if uri.endswith(".md"):
                    todo.append(uri)
    if config.nav:
        config.nav = _expanded(config.nav, files)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Let links lead to the site's files; without a comment at the top, which would hide the title."""
    uri = page.file.src_uri
    markdown = _COMMENT.sub("", markdown)
    if page.file.generated_by and not page.file.abs_src_path:
        return markdown
    return _outside_code(markdown, lambda text: _LINK.sub(lambda match: _rewritten(match, uri), text))


def _rewritten(match: re.Match[str], uri: str) -> str:
    target = _target(match["path"], uri)
    if target is None:
        return match[0]
    path = posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")
    return f"{match['text']}({path}{match['anchor'] or ''})"


def _outside_code(markdown: str, change: Any) -> str:
    parts, begin = [], 0
    for code in _CODE.finditer(markdown):
        parts += [change(markdown[begin : code.start()]), code[0]]
        begin = code.end()
    return "".join([*parts, change(markdown[begin:])])


@cache
def _source(uri: str) -> str:
    """Return the path in the repository of a file of the site."""
    if not uri.startswith(f"{PROJECT}/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix(f"{PROJECT}/")
    readme = f"{path.removesuffix('.md')}/README.md"
    return path if (ROOT / path).exists() else readme


def _target(link: str, uri: str) -> str | None:
    """Return the path in the repository that a link leads to; None when nothing is there."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_source(uri)), link))
    return None if path.startswith("..") or not (ROOT / path).exists() else path


def _targets(uri: str) -> set[str]:
    text = _CODE.sub("", (ROOT / _source(uri)).read_text(encoding="utf-8"))
    found = {_target(match["path"], uri) for match in _LINK.finditer(text)}
    return {target for target in found if target}


def _uri(target: str) -> str:
    """Return the path in the site of a file or folder of the repository."""
    if (ROOT / target).is_dir():
        return _uri(f"{target}/{'README.md' if (ROOT / target / 'README.md').exists() else 'index.md'}")
    if target.startswith(f"{DOCS}/"):
        return target.removeprefix(f"{DOCS}/")
    # MkDocs would take the README of a folder for the index of the whole section.
    return f"{PROJECT}/{re.sub(r'/README[.]md$', '.md', target)}"


def _index(folder: str) -> str:
    """Write the page of a folder: its pages by title, other files by name."""
    lines = [f"# {Path(folder).name.replace('-', ' ').capitalize()}\n"]
    for path in sorted((ROOT / folder).iterdir()):
        if path.suffix == ".md":
            title = _TITLE.search(path.read_text(encoding="utf-8"))
            lines.append(f"- [{title[1] if title else path.stem}]({path.name})")
        elif path.is_file():
            lines.append(f"- `{path.name}`")
    return "\n".join(lines) + "\n"


def _expanded(nav: list[Any], files: Files) -> list[Any]:
    """Replace each pattern by the pages that match it and that no other entry names."""
    order = _order()
    left = {file.src_uri for file in files.documentation_pages()}
    left -= {entry for entry in _entries(nav) if "*" not in entry}

    def take(pattern: str) -> list[str]:
        deep = pattern.count("/")
        taken = [uri for uri in left if uri.count("/") >= deep and fnmatchcase(uri, pattern)]
        if not deep:
            taken = [uri for uri in taken if "/" not in uri]
        left.difference_update(taken)
        return sorted(taken, key=lambda uri: (not uri.endswith("/index.md"), order.get(uri, len(order)), uri))

    def expand(entry: Any) -> list[Any]:
        if isinstance(entry, dict):
            (title, below), *_ = entry.items()
            if isinstance(below, str):
                return [{title: below}]
            pages = [page for one in below for page in expand(one)]
            return [{title: pages}] if pages else []
        return take(entry) if "*" in entry else [entry]

    expanded = [page for entry in nav for page in expand(entry)]
    if left:
        raise PluginError(f"no pattern of mkdocs.yml matches {', '.join(sorted(left))}")
    return expanded


def _entries(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    below = nav.values() if isinstance(nav, dict) else nav
    return [entry for one in below for entry in _entries(one)]


def _order() -> dict[str, int]:
    """Return the place of each page in docs/index.md."""
    links = [
        match["path"] for match in _LINK.finditer((ROOT / DOCS / "index.md").read_text(encoding="utf-8"))
    ]
    return {uri: place for place, uri in enumerate(dict.fromkeys(links))}
