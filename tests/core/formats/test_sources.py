"""What a search has found, as clients of Claude expect it."""

import pytest
from anthropic.types import CitationsWebSearchResultLocation, WebSearchResultBlock

from claude_relay.core.formats.sources import Source


@pytest.mark.parametrize(
    ("found", "source"),
    [
        ({"url": "https://a.org", "title": "A", "content": "x" * 200}, Source("https://a.org", "A", "x" * 150)),
        ({"url": "https://a.org", "title": None}, Source("https://a.org")),
        ({"title": "A"}, None),
        ({"url": 3}, None),
    ],
)
def test_a_source_is_read_as_far_as_it_is_told(found, source):
    assert Source.read(found) == source


def test_a_source_is_what_clients_of_claude_expect():
    source = Source("https://a.org")
    WebSearchResultBlock.model_validate(source.result(), strict=True)
    CitationsWebSearchResultLocation.model_validate(source.citation(), strict=True)
    assert source.result()["title"] == "https://a.org"
