"""Puts environment variables into values: `${NAME}`, `${NAME:-default}`; `$${` stands for a literal `${`.

In `providers.*.keys` an unset variable means no key; anywhere else it is a mistake. Keys of mappings are not expanded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .problems import Place

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::-(?P<default>.*))?", re.DOTALL | re.ASCII)

UNSET = "the environment variable "
"""What complaints about unset variables begin with."""

type Complain = Callable[[Place, str], object]


def expand(value: object, environ: Mapping[str, str], complain: Complain, place: Place = ()) -> object:
    """The same value with every variable replaced; what cannot be replaced is told to `complain(place, what)`."""
    if isinstance(value, dict):
        return {name: expand(item, environ, complain, (*place, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environ, complain, (*place, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda found: _replacement(found, environ, complain, place), value)
    return value


def is_literal(value: object) -> bool:
    """True for text that is more than variables, commas and blanks: a secret written into the file."""
    return isinstance(value, str) and bool(_REFERENCE.sub("", value).strip(" ,\t\n"))


def _replacement(found: re.Match[str], environ: Mapping[str, str], complain: Complain, place: Place) -> str:
    if found[0] == "$${":
        return "${"
    inside = _INSIDE.fullmatch(found["inside"])
    if inside is None or not found["end"]:
        complain(place, "a variable is written ${NAME} or ${NAME:-default}; for a literal '${' write '$${'")
        return ""
    name, default = inside["name"], inside["default"]
    if default is not None:
        return environ.get(name) or default
    if name not in environ and not _is_key(place):
        complain(place, f"{UNSET}{name} is not set; set it, or write ${{{name}:-default}}")
    return environ.get(name, "")


def _is_key(place: Place) -> bool:
    match place:
        case ("providers", _, "keys", *_):
            return True
    return False
