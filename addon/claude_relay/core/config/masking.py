"""Secrets that stand in relay.yaml, hidden from who reads it in the panel and put back when it is saved.

    shown = Masked.of(text)
    shown.text                      'keys: ["${A}", ‹literal 1›]'
    shown.restored(edited)          the same with the secrets in their places; raises ValueError for a mark that stands for none
    new_literals(before, after)     places of keys that were typed in: they belong into the vault, or into variables

Hidden is what `keys`, `notices.secret` and `notices.webhook` hold, the URL of a proxy with a password in it, and whatever looks like a
key, comments too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .expand import is_literal
from .problems import Place, dotted
from .tree import scalars, tree

MARK = re.compile(r"‹literal (\d{1,6})›")
_WRITTEN = re.compile(rf'"{MARK.pattern}"|{MARK.pattern}')
"""A mark as it is shown, or as it is quoted when it is written anew."""
LOOKS_LIKE_A_KEY = re.compile(r"(?:sk-|AIza|gsk_|xai-)[\w-]{12,}", re.ASCII)
IN_BROKEN = re.compile(r"(?m)^[ \t-]*(?:keys|secret|webhook|proxy|url)[ \t]*:[ \t]*([^\s#].*)$")
"""Where a text is no YAML: what stands behind these names."""
IN_URL = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
"""And in the URLs in it."""


class Found(NamedTuple):
    """A secret. `place`: of the value that it is; (): in a comment, or within a value."""

    start: int
    end: int
    place: Place


@dataclass(frozen=True, slots=True)
class Masked:
    """A text with marks; `secrets`: what they stand for, as it stands in the text, the first by number 1."""

    text: str
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, text: str, known: tuple[str, ...] = ()) -> Masked:
        """`known`: secrets that have their numbers already."""
        numbers = {secret: number for number, secret in enumerate(known, 1)}
        parts, at = [], 0
        for found in secrets(text):
            secret = text[found.start : found.end]
            number = numbers.setdefault(secret, len(numbers) + 1)
            parts += [text[at : found.start], mark(number)]
            at = found.end
        return cls("".join([*parts, text[at:]]), tuple(numbers))

    def restored(self, text: str) -> str:
        """A text with these marks, with the secrets in their places. Raises ValueError."""

        def secret(found: re.Match[str]) -> str:
            number = int(found[1] or found[2])
            if not 0 < number <= len(self.secrets):
                raise ValueError(f"{mark(number)} stands for nothing that was there; write a value in its place")
            return self.secrets[number - 1]

        return _WRITTEN.sub(secret, text)


def mark(number: int) -> str:
    """What is shown in the place of a secret."""
    return f"‹literal {number}›"


def secrets(text: str) -> list[Found]:
    """Each of them, in the order of the text; none within another."""
    found = sorted(_found(text), key=lambda one: (one.start, -one.end, not one.place))
    ends = accumulate((one.end for one in found), max, initial=0)
    return [one for one, end in zip(found, ends, strict=False) if one.start >= end]


def new_literals(before: str, after: str) -> list[str]:
    """Places of keys, and of the secret of notices, that are written out in one text and were not in the other."""
    return [
        dotted(one.place)
        for one in secrets(after)
        if _is_for_the_vault(one.place) and not _stands_in(after[one.start : one.end].strip("\"'"), before)
    ]


def is_secret(place: Place, value: object) -> bool:
    """Whether nobody may see the value at this place."""
    match place:
        case ("providers", _, "keys", *_) | ("notices", "secret" | "webhook"):
            return is_literal(value) or (isinstance(value, str) and ":-" in value)
        case ("providers", _, "proxy") | ("proxies", _, "url"):
            return isinstance(value, str) and "@" in value and _is_written_out(_credential(value))
    return False


def hidden(value: Any, place: Place = ()) -> Any:
    """Plain values with a word in the place of each secret, for the audit log."""
    if isinstance(value, dict):
        return {name: hidden(part, (*place, name)) for name, part in value.items()}
    if isinstance(value, list):
        return [hidden(part, (*place, at)) for at, part in enumerate(value)]
    if is_secret(place, value):
        return "‹literal›"
    return LOOKS_LIKE_A_KEY.sub("‹literal›", value) if isinstance(value, str) else value


def _found(text: str) -> Iterator[Found]:
    root = tree(text)
    if root is None:
        yield from (Found(*one.span(1), ()) for one in IN_BROKEN.finditer(text) if is_literal(one[1]))
        yield from (Found(*one.span(), ()) for one in IN_URL.finditer(text) if is_literal(one[0]))
    else:
        for place, node in scalars(root):
            value = text[node.start : node.end]
            if is_secret(place, value.strip("\"'")):
                yield Found(node.start, node.end, place)
    for one in LOOKS_LIKE_A_KEY.finditer(text):
        start, end = one.span()
        quoted = text[start - 1 : start] in ("'", '"') and text[start - 1 : start] == text[end : end + 1]
        yield Found(start - quoted, end + quoted, ())


def _stands_in(secret: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text) is not None


def _is_for_the_vault(place: Place) -> bool:
    return (len(place) > 2 and place[2] == "keys") or place == ("notices", "secret")


def _is_written_out(credential: str) -> bool:
    return is_literal(credential) or ":-" in credential


def _credential(url: str) -> str:
    """The password, else the user."""
    try:
        user, colon, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    except ValueError:
        return url
    return password if colon else user
