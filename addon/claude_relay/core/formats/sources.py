"""What a provider's web search has found, as Claude tells it.

    >>> Source("https://a.org", "A").result()
    {'type': 'web_search_result', 'url': 'https://a.org', 'title': 'A', 'encrypted_content': 'relay-…', 'page_age': None}

Claude gives results and citations a text that only its own servers can read, and wants it back unchanged. In its place stands the mark
that foreign thoughts have, by which they are taken out of a request that goes to Claude. It must not know providers.

https://docs.claude.com/en/docs/agents-and-tools/tool-use/web-search-tool
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from claude_relay.core.bodies.lenient import text

from .answer_blocks import FOREIGN

LONGEST_CITED: Final = 150
"""Characters of `cited_text`, as Claude's own."""


@dataclass(frozen=True, slots=True)
class Source:
    """A page that a search has found. `cited`: what of it was read, where the provider tells that."""

    url: str
    title: str = ""
    cited: str = ""

    @classmethod
    def read(cls, found: Mapping[str, object], *, url: str = "url") -> Source | None:
        """From a provider's object, in which the address has the name `url`; None when it has none."""
        address = text(found.get(url))
        if not address:
            return None
        return cls(address, text(found.get("title")) or "", (text(found.get("content")) or "")[:LONGEST_CITED])

    def result(self) -> dict[str, object]:
        """As an entry of `web_search_tool_result`."""
        return {
            "type": "web_search_result",
            "url": self.url,
            "title": self.title or self.url,
            "encrypted_content": FOREIGN,
            "page_age": None,
        }

    def citation(self) -> dict[str, object]:
        """As a citation of a text."""
        return {
            "type": "web_search_result_location",
            "url": self.url,
            "title": self.title or self.url,
            "encrypted_index": FOREIGN,
            "cited_text": self.cited,
        }
