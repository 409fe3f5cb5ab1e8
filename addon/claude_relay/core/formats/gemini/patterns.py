r"""Whether Gemini can compile a pattern: it has RE2, which lacks much of what JSON Schema's ECMAScript, PCRE and Python have.

    >>> compiles(r"^[a-z]{2,10}$"), compiles(r"^(?!root$)\w+$"), compiles(r"(\w)\1"), compiles(r"\p{Script=Greek}")
    (True, False, False, False)

One that it cannot compile makes it refuse the whole request. In doubt a pattern counts as such. It must not know schemas.

Syntax: https://github.com/google/re2/wiki/Syntax (read 2026-11-27)
"""

from __future__ import annotations

import re
from typing import Final

MOST_REPEATS: Final = 1000
"""Also of what is repeated within what is repeated, multiplied."""
_DEEPEST = 100
"""Groups within groups."""

# fmt: off
_CATEGORIES = frozenset((
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
))
_SCRIPTS = frozenset((
    "Any", "Arabic", "Armenian", "Bengali", "Bopomofo", "Braille", "Cherokee", "Common", "Coptic", "Cyrillic",
    "Devanagari", "Ethiopic", "Georgian", "Gothic", "Greek", "Gujarati", "Gurmukhi", "Han", "Hangul", "Hebrew",
    "Hiragana", "Inherited", "Kannada", "Katakana", "Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar",
    "Ogham", "Oriya", "Runic", "Sinhala", "Syriac", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan", "Yi",
))
# fmt: on
"""Of the scripts, those that are written today; all others are in doubt."""
_POSIX = re.compile(r"\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]")
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}")
_GROUP = re.compile(r"\?(?:P?<(\w+)>|[imsU]*(?:-[imsU]+)?([:)]))", re.ASCII)
_CHARACTER = re.compile(r"[afnrtv]|0[0-7]{0,2}|x[0-9A-Fa-f]{2}|x\{(0*[0-9A-Fa-f]{1,6})\}|[!-/:-@\[-`{-~ ]")
"""After a backslash, what stands for one character."""
_CLASS = re.compile(r"[dDsSwW]|[pP](?:\{\^?(\w+)\}|(\w))", re.ASCII)
_PLACE = re.compile(r"[AbBzC]")
_LITERAL = re.compile(r"Q(?:.*?\\E|.*\Z)", re.DOTALL)
_SINGLES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def compiles(pattern: str) -> bool:
    """Whether RE2 would compile it."""
    try:
        _Reader(pattern).read()
    except _UnfitError:
        return False
    return True


class _UnfitError(ValueError):
    """RE2 has no such thing."""


class _Reader:
    """Goes through one pattern, once. Each method stands behind what it has read."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at = pattern, 0
        self._names: set[str] = set()

    def read(self) -> None:
        self._alternatives(0)
        if self._at < len(self._text):
            raise _UnfitError("a bracket too many")

    def _alternatives(self, depth: int) -> int:
        """Up to a closing bracket or the end; returns how often what is most often repeated within it is."""
        if depth > _DEEPEST:
            raise _UnfitError("nested too deeply")
        most, piece = 1, 0
        while self._at < len(self._text) and self._text[self._at] != ")":
            if found := _QUANTIFIER.match(self._text, self._at):
                piece = self._repeated(found, piece)
                most, piece = max(most, piece), 0
            elif self._text[self._at] == "|":
                self._at, piece = self._at + 1, 0
            else:
                piece = self._piece(depth)
                most = max(most, piece)
        return most

    def _repeated(self, found: re.Match[str], piece: int) -> int:
        """A quantifier, and what makes it lazy. `piece`: repetitions within what is repeated; 0: there is nothing to repeat."""
        if not piece:
            raise _UnfitError("nothing to repeat, or a possessive quantifier")
        self._at = found.end() + self._text.startswith("?", found.end())
        if found[1] is None:
            return piece
        low = int(found[1][:5])
        high = int(found[3][:5]) if found[3] else low
        if low > high or max(low, high) * piece > MOST_REPEATS:
            raise _UnfitError("repeated too often")
        return max(high, 1) * piece

    def _piece(self, depth: int) -> int:
        """One thing that can be repeated; 0 for what cannot."""
        mark = self._text[self._at]
        if mark == "(":
            return self._group(depth)
        if mark == "[":
            self._brackets()
        elif mark == "\\":
            if not (self._takes(_LITERAL) or self._takes(_PLACE) or self._class()):
                self._character()
        else:
            self._at += 1
        return 1

    def _group(self, depth: int) -> int:
        self._at += 1
        if self._text.startswith("?", self._at):
            found = _GROUP.match(self._text, self._at)
            if found is None or found[1] in self._names:
                raise _UnfitError("a group of another kind")
            self._names.update({found[1]} if found[1] else ())
            self._at = found.end()
            if found[2] == ")":
                return 0
        most = self._alternatives(depth + 1)
        if not self._text.startswith(")", self._at):
            raise _UnfitError("a bracket is missing")
        self._at += 1
        return most

    # -- characters; a backslash stands where reading goes on

    def _takes(self, form: re.Pattern[str]) -> re.Match[str] | None:
        """What is escaped, if it has this form."""
        found = form.match(self._text, self._at + 1)
        if found is not None:
            self._at = found.end()
        return found

    def _class(self) -> bool:
        found = self._takes(_CLASS)
        if found is not None and (
            (found[1] and found[1] not in _CATEGORIES | _SCRIPTS) or (found[2] and found[2] not in _CATEGORIES)
        ):
            raise _UnfitError("a class of characters that is not known")
        return found is not None

    def _character(self) -> str:
        found = self._takes(_CHARACTER)
        if found is None or (found[1] and int(found[1], 16) > 0x10FFFF):
            raise _UnfitError("an escape that is not known")
        said = found[0]
        if said[0] == "x":
            return chr(int(found[1] or said[1:], 16))
        return chr(int(said, 8)) if said[0] == "0" else _SINGLES.get(said, said)

    def _brackets(self) -> None:
        self._at += 1 + self._text.startswith("^", self._at + 1)
        first = True
        while first or not self._text.startswith("]", self._at):
            first = False
            self._within_brackets()
        self._at += 1

    def _within_brackets(self) -> None:
        if self._text.startswith("[:", self._at) and self._text.find(":]", self._at) > 0:
            found = _POSIX.match(self._text, self._at)
            if found is None:
                raise _UnfitError("a class of characters that is not known")
            self._at = found.end()
            return
        if self._text.startswith("\\", self._at) and self._class():
            return
        low = self._single()
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
            self._at += 1
            if self._single() < low:
                raise _UnfitError("a range that ends before it begins")

    def _single(self) -> str:
        if self._at >= len(self._text):
            raise _UnfitError("a bracket is missing")
        if self._text[self._at] == "\\":
            return self._character()
        self._at += 1
        return self._text[self._at - 1]
