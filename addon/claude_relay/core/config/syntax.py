"""What is wrong where YAML itself cannot be read, and how to mend it: the parser names neither.

    line, what = mended(error, text)

It must not repeat a value of the file: one may be a secret.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ruamel.yaml.error import MarkedYAMLError


class Remedy(NamedTuple):
    """at_start: it is the line where the thing begins that has no end, not the one where that was noticed."""

    pattern: str
    what: str
    at_start: bool = False


QUOTE: Final = "a quote begins here that has no end; close it"
REMEDIES: Final = (
    Remedy(r"quoted scalar.*(end of stream|document separator)", QUOTE, at_start=True),
    Remedy(r"escape", "a backslash stands in double quotes; write it twice, or use single quotes"),
    Remedy(r"\\t", "a tab stands where YAML wants blanks; replace it"),
    Remedy(r"single document", "holds more than one document; keep one and remove the line '---' between them"),
    Remedy(r"depth", "is nested too deeply"),
    Remedy(
        r"undefined alias", "uses an alias ('*…') that no anchor above defines; a text that begins so stands in quotes"
    ),
    Remedy(
        r"expected ',' or '\]', but got '\{'",
        "a ',' or ']' is missing in the list that begins here; ${…} must stand in quotes",
        at_start=True,
    ),
    Remedy(
        r"expected ',' or '\]'",
        "a ',' or ']' is missing in the list that begins here; close it, and put commas between its entries",
        at_start=True,
    ),
    Remedy(
        r"expected ',' or '\}'",
        "a ',' or '}' is missing in the mapping that begins here; close it, and put commas between its entries",
        at_start=True,
    ),
    Remedy(r"expected ':'", "a ':' is missing; write NAME: VALUE", at_start=True),
    Remedy(
        r"mapping values are not allowed",
        "a ':' stands where none may be; put the value in quotes, or indent the line as its neighbours "
        "(is a ':' missing in the one above?)",
    ),
    Remedy(
        r"block (end|mapping|collection).*found '(<block|-|\?|<key>)",
        "is indented otherwise than its neighbours; give lines of one level the same number of blanks",
    ),
    Remedy(
        r"expected <block end>", "something follows a value that has ended; remove it, or put the whole value in quotes"
    ),
    Remedy(r"flow node.*<stream end>", "a '[' or '{' above has no end; close it"),
    Remedy(r"expected the node content", "a bracket or comma stands here alone; remove it, or put the value in quotes"),
    Remedy(
        r"cannot start any token", "a value begins with a character that has a meaning in YAML; put the value in quotes"
    ),
    Remedy(r"chomping|block scalar", "text after '|' or '>' begins in the next line; for a short one use quotes"),
    Remedy(r"sequence entries are not allowed", "a list begins in the line of its name; begin a new line before '-'"),
    Remedy(r"directive|incompatible YAML|tag handle", "a line that begins with '%' has no place here; remove it"),
    Remedy(r"tag", "carries a tag ('!…'), which has no place here; leave it off"),
)
"""The first one that fits what the parser says counts."""
OTHERWISE: Final = "this is no YAML; look for a quote, a bracket or a ':' that is missing here or in the line above"
_QUOTED: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?<!\S)#.*""")


def mended(error: MarkedYAMLError, text: str) -> tuple[int | None, str]:
    """The line (from 1) to look at, and what to do there."""
    said = " ".join(part for part in (error.context, error.problem) if part)
    remedy = next((one for one in REMEDIES if re.search(one.pattern, said, re.DOTALL)), None)
    noticed = error.problem_mark or error.context_mark
    begun = error.context_mark if remedy is not None and remedy.at_start else None
    mark = begun or noticed
    what = OTHERWISE if remedy is None else remedy.what
    if mark is None:
        return None, what
    if what != QUOTE and noticed is not None and (opened := _open_quote(text, noticed.line + 1)) is not None:
        return opened, QUOTE  # it ends at the next quote of the file, and only what comes then looks wrong
    return int(mark.line) + 1, what


def _open_quote(text: str, until: int) -> int | None:
    """The first line, up to one, in which a value's quote is opened and not closed."""
    for number, line in enumerate(text.splitlines()[:until], 1):
        rest = _QUOTED.sub(lambda found: "" if found[0].startswith("#") else "x", line)
        if re.search(r"""(?:^|[\[{,:-])\s*["']""", rest):
            return number
    return None
