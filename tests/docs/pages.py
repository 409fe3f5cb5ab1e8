"""The pages, and what can be asked of one.

PAGES["docs/keys.md"].section("Aliases")
PAGES["README.md"].blocks("sh")
PAGES["docs/keys.md"].table("strategy")     -> [["`headroom`", "the default: …"], …], the rows below a header that begins so
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^ *(```+|~~~+)(.*)$")
HEADING = re.compile(r"^(#+) +(.+)$")
CELLS = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """One page. `name`: its path from the root."""

    name: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def split(self) -> tuple[list[str], list[tuple[str, str]]]:
        """The lines outside of fences, and the blocks within: language and text. AssertionError for a fence without an end."""
        prose: list[str] = []
        found: list[tuple[str, str]] = []
        inside: list[str] | None = None
        language = ""
        for line in self.lines:
            fence = FENCE.match(line)
            if fence and inside is None:
                language, inside = fence[2].strip(), []
                assert " " not in language, f"{self.name}: {line!r} begins no block"
            elif fence and inside is not None:
                assert not fence[2], f"{self.name}: {line!r} begins a block within a block"
                found.append((language, "".join(f"{one}\n" for one in inside)))
                inside = None
            elif inside is not None:
                inside.append(line)
            else:
                prose.append(line)
        assert inside is None, f"{self.name}: a block of code has no end"
        return prose, found

    @property
    def prose(self) -> list[str]:
        return self.split[0]

    def blocks(self, language: str) -> list[str]:
        return [text for name, text in self.split[1] if name == language]

    @cached_property
    def anchors(self) -> set[str]:
        """What links may end in: https://docs.github.com/get-started/writing-on-github#section-links"""
        titles = [found[2] for line in self.prose if (found := HEADING.match(line))]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def section(self, title: str) -> str:
        """From a heading to the next one that is as high."""
        match = re.search(rf"^(#+) {re.escape(title)}\n", self.text, re.MULTILINE)
        assert match, f"{self.name} has no section {title!r}"
        return re.split(rf"^#{{1,{len(match[1])}}} ", self.text[match.end() :], maxsplit=1, flags=re.MULTILINE)[0]

    def table(self, first: str) -> list[list[str]]:
        """The rows of all tables whose first column has this title."""
        rows: list[list[str]] = []
        header = ""
        for line in [*self.prose, ""]:
            if not line.startswith("|"):
                header = ""
                continue
            cells = [cell.strip() for cell in CELLS.split(line)[1:-1]]
            if not header:
                header = cells[0]
            elif header == first and not set(line) <= set("|- "):
                rows.append(cells)
        return rows

    @property
    def links(self) -> list[str]:
        return [target for line in self.prose for target in LINK.findall(re.sub(r"`[^`]*`", "", line))]

    @property
    def code(self) -> list[str]:
        """All that is set as code: lines of blocks (those that go on in the next one are one), and words within the text."""
        blocks = "".join(text for _, text in self.split[1]).replace("\\\n", " ").splitlines()
        return [*blocks, *re.findall(r"`([^`\n]+)`", "\n".join(self.prose))]


def read(name: str) -> Page:
    return Page(name, (ROOT / name).read_text("utf-8"))


README = read("README.md")
PAGES = {
    page.name: page for page in (README, *(read(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md"))))
}
DOCS = {name: page for name, page in PAGES.items() if page is not README}
CHANGELOG = read("CHANGELOG.md")
ALL = "\n".join(page.text for page in PAGES.values())


def quoted(text: str) -> list[str]:
    """The words that are set as code within a text."""
    return re.findall(r"`([^`\n]+)`", text)


def invocations() -> list[tuple[str, list[str]]]:
    """Every `scripts/…` with its words, up to a comment, a closing bracket or quote, or a pipe.

    Without `--with EXTRA,…`, which is for the shell part.
    """
    found = []
    for page in PAGES.values():
        for line in page.code:
            found += re.findall(
                r"scripts/([a-z]+)((?:'[^'\n]*'|\"[^\"\n]*\"|[^#)\"|>\n])*)",
                re.sub(r"(scripts/[a-z]+) --with [a-z,]+", r"\1", line),
            )
    return [(name, shlex.split(rest)) for name, rest in found]
