"""The pages as contentviews of mitmproxy: https://docs.mitmproxy.org/stable/addons/contentviews/."""

from __future__ import annotations

from typing import Final

from mitmproxy import contentviews, http
from mitmproxy.contentviews import Contentview, Metadata, SyntaxHighlight

from .recognition import KINDS, Kind
from .seen import Seen

WINS: Final = 2.0
"""More than mitmproxy's own views give themselves."""
NEVER: Final = -1.0
OURS: Final = "relay_"
"""How the names begin of what the relay notes in a flow's metadata."""


class View(Contentview):
    """The contentview of one kind of body."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    @property
    def name(self) -> str:
        """As people choose it."""
        return self.kind.name

    @property
    def syntax_highlight(self) -> SyntaxHighlight:
        """Pages are written as YAML."""
        return "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """The page of a body."""
        return self.kind.text(data, seen(metadata))

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """Ahead of all others for bodies of its kind, and for no other."""
        return WINS if data and self.kind.fits(data, seen(metadata)) else NEVER


VIEWS: Final = tuple(map(View, KINDS))


def install() -> None:
    """Offer the views, once."""
    for view in VIEWS:
        if contentviews.registry.get(view.name) is not view:
            contentviews.add(view)


def remove() -> None:
    """Take them back. mitmproxy itself never does that: it has no method for it."""
    for view in VIEWS:
        if contentviews.registry.get(view.name) is view:
            del contentviews.registry._by_name[view.name.lower()]


def seen(metadata: Metadata) -> Seen:
    """What is known of the message around a body; nothing of what is not part of an HTTP flow."""
    flow, message = metadata.flow, metadata.http_message
    if not isinstance(flow, http.HTTPFlow):
        return Seen(answer=isinstance(message, http.Response))
    path = flow.request.path.partition("?")[0]
    response = flow.response
    if response is None or message is not response:
        return Seen(path)
    began = flow.request.timestamp_start
    return Seen(
        path,
        answer=True,
        status=response.status_code,
        story=flow.comment,
        noted={name.removeprefix(OURS): fact for name, fact in flow.metadata.items() if name.startswith(OURS)},
        first_byte=_between(began, response.timestamp_start),
        whole=_between(began, response.timestamp_end),
    )


def _between(start: float | None, end: float | None) -> float | None:
    return end - start if start is not None and end is not None and end >= start else None
