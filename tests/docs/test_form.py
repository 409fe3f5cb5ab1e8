"""What holds of every page."""

from __future__ import annotations

import re

import pytest

from .pages import DOCS, PAGES, README, ROOT, Page, read

WIDTH = 120
LENGTH = 200
PYPI = r"pip install ['\"]?claude-relay"
TO_COME = {ROOT / "SECURITY.md"}
"""Written beside these pages."""

every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def test_readme_is_read_to_its_end() -> None:
    assert len(README.lines) <= LENGTH
    assert [line for line in README.lines if len(line) > WIDTH] == []


@every_page
def test_lines_fit(page: Page) -> None:
    """A row of a table cannot be broken; all else can."""
    assert [line for line in page.lines if len(line) > WIDTH and not line.startswith("|")] == []


@every_page
def test_fences_are_balanced(page: Page) -> None:
    assert page.split


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```sh\nls\n", "has no end"),
        ("```sh\nls\n```yaml\na: 1\n```\n", "within a block"),
        ("~~~\nls\n", "has no end"),
        ("``` sh ls\n```\n", "begins no block"),
    ],
)
def test_broken_fences_are_found(text: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        _ = Page("x.md", text).split


@every_page
def test_tables_have_as_many_cells_in_each_row(page: Page) -> None:
    for before, line in zip(page.prose, page.prose[1:], strict=False):
        if line.startswith("|") and before.startswith("|"):
            assert re.sub(r"\\\|", "", line).count("|") == re.sub(r"\\\|", "", before).count("|"), line


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_a_page_begins_with_its_task(page: Page) -> None:
    assert re.match(r"# [^\n]+\n\nYou want to \w", page.text)


@every_page
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page.name).parent / target if target else ROOT / page.name
        if path.resolve() in TO_COME:
            continue
        assert path.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in read(str(path.resolve().relative_to(ROOT))).anchors, f"{page.name}: {link}"


def test_readme_leads_to_every_page() -> None:
    assert {link for link in README.links if link.startswith("docs/")} >= set(DOCS)


@every_page
def test_nobody_is_sent_to_somebody_elses_package(page: Page) -> None:
    assert re.search(PYPI, "pip install 'claude-relay[x]'")
    assert not re.search(PYPI, page.text)
    for words in re.findall(r"pip install ([^\s`]+)", page.text):
        assert words.strip("'").startswith((".", "mitmproxy-claude-relay")), words


@every_page
def test_the_fields_words(page: Page) -> None:
    """Words of the code's past, outside of what is set as code."""
    prose = re.sub(r"`[^`]*`|\"[^\"]*\"", "", "\n".join(page.prose))
    assert re.findall(r"\b(?:rests|resting|rested|told|of one's own)\b", prose) == []
