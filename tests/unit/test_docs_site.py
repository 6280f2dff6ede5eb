"""The documentation as a site: it builds, and shows what a code host shows."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.support import documents
from tests.support.documents import ROOT

PAGES = [page for page in documents.pages() if page.startswith("docs/")]
TAGS = re.compile(r"<(h1|h2|h3|h4|li|ol|ul|pre|table|tr)[ >]")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def address(page: str) -> str:
    path = Path(page.removeprefix("docs/"))
    return str(path.with_name("index.html" if path.name == "README.md" else f"{path.stem}.html"))


def article(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index("<article") : text.index("</article>")]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_looks_as_on_a_code_host(site: Path, page: str) -> None:
    """Python-Markdown is stricter: without a blank line a list is a paragraph."""
    shown = article(site / address(page))
    wanted = MarkdownIt("commonmark").enable("table").render(documents.read(page))
    assert Counter(TAGS.findall(shown)) == Counter(TAGS.findall(wanted)), (
        "a list or table needs a blank line before it, and what is below an item four spaces"
    )


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        assert f'href="{address(page)}"' in home


def test_sections_come_in_their_order(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    wanted = ["Tutorial", "How-to guides", "Operations", "Reference", "Explanation"]
    tabs = re.findall(r'class="md-tabs__link">\s*([^<]*?)\s*<', home)
    assert [tab for tab in tabs if tab in wanted] == wanted


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page.read_text("utf-8")) == []


def test_files_outside_of_the_documentation_are_in_the_site(site: Path) -> None:
    """Links such as ../../CHANGELOG.md work in both places."""
    outside = {
        target
        for page in PAGES
        for link in documents.links(page)
        if not re.match(r"[a-z]+:|#", link)
        and not (target := ((ROOT / page).parent / link.partition("#")[0]).resolve()).is_relative_to(
            ROOT / "docs"
        )
    }
    for target in outside:
        path = str(target.relative_to(ROOT)).replace("/README.md", ".md")
        assert (site / "project" / (address(path) if path.endswith(".md") else path)).exists()


def test_a_generated_page_has_its_title(site: Path) -> None:
    text = (site / "reference/perconapgcluster.html").read_text(encoding="utf-8")
    assert "<title>PerconaPGCluster - pgoperator</title>" in text
