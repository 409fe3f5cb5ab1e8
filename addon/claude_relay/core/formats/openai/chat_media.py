"""Pictures and PDFs as parts of a message of Chat Completions, and as a line of text where the provider does not take them.

    >>> Media(turns, "some-model", {"images": ["image/png"]}, openai=False, notes=(notes := [])).shown(Image("image/gif", data="R0lG"))
    Text(text='(a picture of type image/gif, which this provider does not take)', cached=False)
    >>> notes
    ['messages: image/gif left out, this provider takes image/png']

What a provider takes is told by its options (`chat`). Nothing is converted. It must not know messages.
https://platform.openai.com/docs/guides/images-vision · https://platform.openai.com/docs/guides/pdf-files
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from claude_relay.core.formats.conversation import Document, Image, Json, Part, Result, Text, Turn

from .chat_thinking import for_model

OPENAI_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""https://platform.openai.com/docs/guides/images-vision#image-input-requirements, 2026-11-27"""
_KINDS = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_MB = 1_000_000

type Message = dict[str, object]


class Media:
    """The files of one request."""

    def __init__(self, turns: Sequence[Turn], model: str, options: Json, *, openai: bool, notes: list[str]) -> None:
        """`openai`: a model of OpenAI's, of which it is known what it takes; `notes` gets what is left out."""
        self._notes = notes
        images = for_model(options.get("images", True), model)
        self._sees = images is not False and images is not None
        listed = images if isinstance(images, list | tuple) else OPENAI_IMAGES if openai else ()
        self._types = [str(kind) for kind in listed]
        self._image_urls, self._pdf_urls = options.get("image_urls", True), options.get("pdf_urls")
        self._pdf = for_model(options.get("pdf", True), model)
        self._largest = _number(options.get("image_bytes"))
        most = _number(options.get("most_images"))
        self._skip = max(0, sum(1 for _ in _images(turns)) - most) if most else 0

    def shown(self, part: Image | Document) -> Text | Message:
        """The part, or the text in its place."""
        return self._image(part) if isinstance(part, Image) else self._document(part)

    def _image(self, image: Image) -> Text | Message:
        if not self._sees:
            return self._left_out("pictures left out", "a picture, which this model cannot see")
        kind = image.media_type.lower() or _KINDS.get(image.url.partition("?")[0].rpartition(".")[2].lower(), "")
        kind = "image/jpeg" if kind == "image/jpg" else kind
        if self._types and kind and kind not in self._types:
            why = f"{kind} left out, this provider takes {', '.join(self._types)}"
            return self._left_out(why, f"a picture of type {kind}, which this provider does not take")
        if image.url and not self._image_urls:
            where = f"a picture at {image.url}, which this provider does not fetch"
            return self._left_out("pictures named by their URL", where)
        if self._largest and len(image.data) * 3 // 4 > self._largest:
            size = f"{len(image.data) * 3 // 4 / _MB:.1f} MB"
            why = f"a picture of {size} left out, this provider takes {self._largest / _MB:.1f} MB"
            return self._left_out(why, f"a picture of {size}, which is too large for this provider")
        if self._skip:
            self._skip -= 1
            return self._left_out(
                "the earliest pictures left out", "an earlier picture, one too many for this provider"
            )
        return {"type": "image_url", "image_url": {"url": image.url or _data_url(image)}}

    def _document(self, document: Document) -> Text | Message:
        takes = self._pdf and (document.data or self._pdf_urls or self._pdf == "document_url")
        if not takes:
            why = "documents left out" if document.data else "documents named by their URL"
            about = ", ".join(filter(None, (document.title, document.url)))
            return self._left_out(why, f"a PDF document{': ' if about else ''}{about}, which this model cannot read")
        where = document.url or _data_url(document)
        if self._pdf == "document_url":
            name: Message = {"document_name": document.title} if document.title else {}
            return {"type": "document_url", "document_url": where} | name
        return {"type": "file", "file": {"filename": _filename(document), "file_data": where}}

    def _left_out(self, why: str, words: str) -> Text:
        self._notes.append(f"messages: {why}")
        return Text(f"({words})")


def _images(turns: Sequence[Turn]) -> Iterator[Image]:
    for turn in turns:
        for part in turn.parts:
            inside: Sequence[Part] = part.content if isinstance(part, Result) else (part,)
            yield from (one for one in inside if isinstance(one, Image))


def _data_url(part: Image | Document) -> str:
    return f"data:{part.media_type};base64,{part.data}"


def _filename(document: Document) -> str:
    """Its title; OpenAI tells the type of a file by its name."""
    title = document.title or "document"
    return title if title.lower().endswith(".pdf") else f"{title}.pdf"


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
