"""Files as Gemini takes them: inline, by their URL, or as a line of text where it takes neither.

    >>> media = MediaPieces(by_url=True, note=print)
    >>> media.pieces(Image("image/gif", data="R0lG"))
    source.media_type: image/gif is given as text, Gemini takes no such picture
    [{'text': '[a picture of the type image/gif, which cannot be shown]'}]

It must not know turns. What is taken is data: `data/gemini_models.json`.
"""

from __future__ import annotations

from collections.abc import Callable

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Document, Image

from .models import MEDIA

type Piece = dict[str, object]
"""An object of Gemini's, such as a `Part`, as JSON."""


class MediaPieces:
    """Those of one request. `by_url`: whether Gemini may fetch a file itself."""

    def __init__(self, *, by_url: bool, note: Callable[[str], None]) -> None:
        self._by_url, self._note = by_url, note
        self._bytes = 0

    def pieces(self, file: Image | Document) -> list[Piece]:
        """The parts for a file, a document's title in front of it. Raises Unsuited for one that is too large, alone or with the others."""
        title = file.title if isinstance(file, Document) else ""
        before: list[Piece] = [{"text": title}] if title else []
        return [*before, self._inline(file) if file.data else self._linked(file)]

    def _inline(self, file: Image | Document) -> Piece:
        kind = file.media_type.partition(";")[0].strip().lower()
        kind = MEDIA.same.get(kind, kind)
        if not _takes(file, kind):
            self._note(f"source.media_type: {_short(kind)} is given as text, Gemini takes no such {_word(file)}")
            return {"text": f"[a {_word(file)} of the type {_short(kind)}, which cannot be shown]"}
        size = len(file.data) * 3 // 4
        self._bytes += size
        if isinstance(file, Document) and size > MEDIA.most_bytes_of_document:
            raise Unsuited("source.data", f"Gemini takes a document of {MEDIA.most_bytes_of_document} bytes at most")
        if self._bytes > MEDIA.most_bytes:
            raise Unsuited("source.data", f"Gemini takes files of {MEDIA.most_bytes} bytes at most in a request")
        return {"inlineData": {"mimeType": kind, "data": file.data}}

    def _linked(self, file: Image | Document) -> Piece:
        ending = file.url.partition("#")[0].partition("?")[0].rpartition(".")[2].lower()
        kind = file.media_type or MEDIA.endings.get(ending, "")
        if self._by_url and (not kind or _takes(file, kind)):
            return {"fileData": {"fileUri": file.url} | ({"mimeType": kind} if kind else {})}
        self._note("source.url: given as text, as the model cannot fetch it")
        return {"text": f"[{'image' if isinstance(file, Image) else 'document'}: {file.url}]"}


def _takes(file: Image | Document, kind: str) -> bool:
    return kind in (MEDIA.images if isinstance(file, Image) else MEDIA.documents)


def _word(file: Image | Document) -> str:
    return "picture" if isinstance(file, Image) else "document"


def _short(kind: str) -> str:
    """A type as a client wrote it, fit for a note."""
    return "".join(mark for mark in kind[:64] if mark.isascii() and (mark.isalnum() or mark in "/+-."))
