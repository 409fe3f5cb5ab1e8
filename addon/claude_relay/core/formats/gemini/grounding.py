"""What Google's search has found for an answer: written as Claude's own search results and citations.

    >>> grounding = Grounding(writer)
    >>> grounding.read({"webSearchQueries": ["rome"], "groundingChunks": [{"web": {"uri": "https://a.org", "title": "a.org"}}]})
    >>> grounding.write()

Queries and pages come with the whole answer, or in a stream with one of its events, mostly the last, and again with later ones. Which page
a text goes back to is said by segments: bytes of a part of the content. The number of that part is left out even where it is not the first
(https://github.com/googleapis/python-genai/issues/961), so a segment belongs to the part that has its text at its bytes. It must not know
other parts of an answer.

Fields: https://ai.google.dev/api/generate-content#GroundingMetadata
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.sources import Source
from claude_relay.core.formats.writer import Writer

SERVER_SIDE: Final = ("toolCall", "toolResponse")
"""Parts of an answer in which Google's own tools are called, and answer."""


@dataclass(frozen=True, slots=True)
class _Support:
    """A piece of a part's text, from a byte on, and the pages that say the same."""

    start: int
    said: str
    sources: tuple[Source, ...]

    def is_in(self, part: str) -> bool:
        if not self.said or self.said not in part:
            return False
        piece = self.said.encode("utf-8", "surrogatepass")
        return part.encode("utf-8", "surrogatepass").startswith(piece, self.start)


class Grounding:
    """That of one answer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._queries: dict[str, None] = {}
        self._sources: dict[str, Source] = {}
        self._pages: list[Source | None] = []
        self._supports: dict[_Support, None] = {}
        self._known: set[_Support] = set()
        self._written = (0, 0)

    def read(self, metadata: Mapping[str, object]) -> None:
        """More of a candidate's `groundingMetadata`."""
        self.searched(metadata.get("webSearchQueries"))
        if chunks := _objects(metadata.get("groundingChunks")):
            self._pages = [Source.read(mapping(chunk.get("web")), url="uri") for chunk in chunks]
            for page in self._pages:
                if page is not None:
                    self._sources.setdefault(page.url, page)
        for found in _objects(metadata.get("groundingSupports")):
            self._support(found)

    def searched(self, queries: object) -> None:
        """These have been asked for."""
        self._queries |= {query: None for query in _list(queries) if isinstance(query, str) and query}

    def write(self, *, last: bool = False) -> None:
        """What was searched and found, if anything was; `last`: nothing more will be known, so that also a search without pages counts."""
        queries, sources = list(self._queries), list(self._sources.values())
        known = self._written
        if (sources and known == (0, 0)) or (
            last and (len(queries) > known[0] or known == (0, 0)) and (queries or sources)
        ):
            self._writer.searched(queries[known[0] :], sources[known[1] :])
            self._written = len(queries), len(sources)

    def cite(self, part: str) -> None:
        """This part's text has been written: what is known to be said by pages is noted so."""
        for support in [known for known in self._supports if known.is_in(part)]:
            del self._supports[support]
            self._writer.cite(*support.sources)

    def end(self) -> None:
        """The answer is over."""
        for support in self._supports:
            self._writer.cite(*support.sources)
        self._supports.clear()
        self.write(last=True)

    def _support(self, found: Mapping[str, object]) -> None:
        segment = mapping(found.get("segment"))
        numbers = [count(number) for number in _list(found.get("groundingChunkIndices"))]
        pages = [self._pages[number] for number in numbers if number is not None and number < len(self._pages)]
        sources = tuple(page for page in pages if page is not None)
        support = _Support(count(segment.get("startIndex")) or 0, text(segment.get("text")) or "", sources)
        if sources and support not in self._known:
            self._known.add(support)
            self._supports[support] = None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[Mapping[str, object]]:
    return [mapping(item) for item in _list(value)]
