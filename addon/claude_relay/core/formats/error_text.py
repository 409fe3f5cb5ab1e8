"""Reads what error answers say, whatever their shape.

    >>> read_problem(b'{"error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Slow down."}}')
    ('tokens', 'rate_limit_exceeded', 'Slow down.')
    >>> read_problem(b"<html><head><title>502 Bad Gateway</title></head>")
    ('', '', '502 Bad Gateway')

Servers that speak one format do not speak one error: an object, a list of one, a text, `detail`, `message`, a page of HTML or nothing.
What it means is not decided here (`problems`). Everything is bounded, and takes time in proportion to the size of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from claude_relay.core.bodies.lenient import BOM, mapping, text, value

from .errors import SAYS_STATUS

LONGEST_MESSAGE = 2000
"""Characters of a provider's message that are passed on."""
LONGEST_PAGE = 16_384
"""Characters of a text or of a page of HTML that are looked at."""
DEEPEST = 20
"""Objects and lists around an error."""

_WORDS = ("message", "detail", "msg", "error_description", "errors", "error_msg", "error_message", "Message", "title")
"""Where the words of an error are."""
_REASONS = SAYS_STATUS.keys() | {"consumer_suspended"}
"""Reasons in Google's details that count for more than its status, in small letters: https://cloud.google.com/apis/design/errors#error_info"""
_TITLE, _TITLE_END = re.compile("<title", re.I), re.compile("</title", re.I)
_UNSHOWN = re.compile(r"<(script|style)\b", re.I)
_UNSHOWN_END = {"script": re.compile("</script", re.I), "style": re.compile("</style", re.I)}
_BLANKS = re.compile(r"\s+")


def read_problem(body: bytes) -> tuple[str, str, str]:
    """Type, code and message of an error answer, each "" when it is not told. A code that only repeats an HTTP status counts as one."""
    decoded = value(body.removeprefix(BOM))
    if not isinstance(decoded, dict | list | str):
        return "", "", _plain(body.decode("utf-8", "replace"))
    return read_error(decoded)


def read_error(error: object) -> tuple[str, str, str]:
    """As `read_problem`, of a decoded value: an answer, an event of a stream, or the error in it."""
    for _ in range(DEEPEST):
        inside = error[0] if isinstance(error, list) and error else mapping(error).get("error")
        if isinstance(error, list) or (isinstance(inside, list | dict) and inside):
            error = inside
        else:
            break
    if isinstance(error, str):
        return "", "", _plain(error)
    around = mapping(error)
    if isinstance(said := around.get("error"), str) and said:
        # {"error": "text"}, or {"error": "name", "message": "text"}
        kind = _name(around.get("type")) or _name(around.get("error_type"))
        return kind, _name(around.get("code")), _plain(text(around.get("message")) or said)
    kind = _name(around.get("type")) or _name(around.get("status"))
    return kind, _reason(around) or _name(around.get("code")), _message(around)


def _message(error: Mapping[str, object]) -> str:
    """The text of an error object, with what OpenRouter's provider said, if that is there."""
    for name in _WORDS:
        if found := _texts(error.get(name)):
            raw = _plain(text(mapping(error.get("metadata")).get("raw")) or "")
            return _plain(f"{found}: {raw}" if raw else found)
    return ""


def _texts(raw: object, depth: int = 3) -> str:
    """A text; or those of FastAPI's list of {loc, msg}."""
    if isinstance(raw, list):
        return "; ".join(filter(None, [_texts(item, depth - 1) for item in raw[:5]])) if depth else ""
    if isinstance(raw, dict):
        where = ".".join(str(step) for step in raw["loc"]) if isinstance(raw.get("loc"), list) else ""
        what = text(raw.get("msg")) or text(raw.get("message")) or text(raw.get("error")) or ""
        return f"{where}: {what}" if where and what else what
    return text(raw) or ""


def _reason(error: Mapping[str, object]) -> str:
    details = error.get("details")
    reasons = [_name(mapping(detail).get("reason")) for detail in (details if isinstance(details, list) else [])]
    return next((reason for reason in reasons if reason.lower() in _REASONS), "")


def _name(raw: object) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return raw[:64] if isinstance(raw, str) else ""


def _plain(words: str) -> str:
    """The words, without HTML, on one line."""
    words = words[:LONGEST_PAGE]
    if "<" in words:
        words = _title(words) or (_without_tags(words) if words.lstrip().startswith("<") else words)
    words = _BLANKS.sub(" ", words).strip()
    return words if len(words) <= LONGEST_MESSAGE else f"{words[: LONGEST_MESSAGE - 1]}…"


def _title(page: str) -> str:
    """The title of a page of HTML; empty when it has none."""
    if (tag := _TITLE.search(page)) is None or (begin := page.find(">", tag.end())) < 0:
        return ""
    end = _TITLE_END.search(page, begin)
    return page[begin + 1 : end.start()].strip() if end else ""


def _without_tags(page: str) -> str:
    """What a page of HTML shows. A tag that does not end is text."""
    shown, at = [], 0
    while (start := page.find("<", at)) >= 0:
        shown.append(page[at:start])
        at = start
        if (unshown := _UNSHOWN.match(page, start)) is not None:
            last = _UNSHOWN_END[unshown[1].lower()].search(page, start)
            if last is None:
                return " ".join(shown)
            at = last.start()
        end = page.find(">", at)
        if end < 0:
            break
        at = end + 1
    return " ".join([*shown, page[at:]])
