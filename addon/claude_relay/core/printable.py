r"""Text of others, as a terminal may show it: nothing in it moves the cursor, turns the line round or hides.

    >>> harmless("gpt-\x1b[2J\u202e5\x9b名前 é")
    'gpt-␛[2J�5�名前 é'

Control characters of either set, directions, joiners, everything without a width, line separators, lone surrogates: each becomes one
visible character, so that lengths stay. Letters, marks and signs of all scripts stay as they are.
"""

from __future__ import annotations

from typing import Final
from unicodedata import category

SPACING: Final = "\n\t"
UNSEEN: Final = "\ufffd"


def harmless(text: str, keep: str = SPACING) -> str:
    """The text; the same object when nothing had to be changed. `keep`: control characters that mean what they should."""
    if text.isprintable():
        return text
    return "".join([character if _stays(character, keep) else _picture(character) for character in text])


def harmless_json(text: str) -> str:
    """The same for JSON, in which it can be told without loss."""
    if text.isprintable():
        return text
    return "".join([character if _stays(character, "\n") else _escape(character) for character in text])


def _stays(character: str, keep: str) -> bool:
    return character.isprintable() or character in keep or category(character) in ("Zs", "Co", "Cn")


def _picture(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else UNSEEN


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
