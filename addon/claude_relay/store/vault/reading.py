"""Keys from a file: one a line, CSV with a header, or JSON.

    read("sk-ant-…\\nsk-ant-…  # the second\\n")
    read("key,label,tier\\nsk-ant-…,team a,admin\\n")
    read('[{"key": "sk-ant-…", "provider": "glm", "weight": 2}, "sk-ant-…"]')

The columns are `key`, `provider` and the fields of a key; what `export` tells besides is passed over. A problem names the
line and never repeats what stands there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of

from claude_relay.core.config.problems import shown

from .records import FIELDS, StoredKey

SECRET_NAMES = ("key", "secret", "api_key", "token")
PASSED_OVER = ({item.name for item in fields_of(StoredKey)} | {"name", "states"}) - FIELDS.keys() - {"provider"}
COLUMNS = PASSED_OVER | FIELDS.keys() | {"provider"}
"""Names of columns beside the key's own: a file may have lost that one, as what `export` writes never had it."""
DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it was found. `where`: line 7, entry 7."""

    where: str
    secret: str = field(repr=False)
    provider: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)


def read(text: str, form: str | None = None) -> list[Entry]:
    """All entries. Raises ValueError with one problem a line; then nothing can be taken from it."""
    return list(FORMS[form or guess(text)](text))


def read_rows(rows: Sequence[Mapping[str, object]]) -> list[Entry]:
    """The same of objects that were read already. Raises ValueError."""
    return [_json_item(row, f"entry {number}") for number, row in enumerate(rows, 1)]


def guess(text: str) -> str:
    """Which of FORMS it is."""
    if text.lstrip().startswith(("[", "{")):
        return "json"
    header = {name.strip(' "').lower() for name in re.split(f"[{DELIMITERS}]", _first_line(text))}
    named = (len(header) > 1 and header & set(SECRET_NAMES)) or header & {"key", "api_key"}
    return "csv" if named or len(header & COLUMNS) > 1 else "lines"


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), 1):
        for secret in re.split(r"[,\s]+", re.sub(r"(^|\s)#.*", "", line)):
            if secret:
                yield Entry(f"line {number}", secret)


def _csv(text: str) -> Iterator[Entry]:
    header = _first_line(text)
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text.lstrip()), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        names = _names([name.strip().lower() for name in next(reader, [])])
        for row in reader:
            if any(row):
                yield _csv_row(names, row, f"line {reader.line_num}")
    except csv.Error:
        raise ValueError(f"line {reader.line_num}: this is no CSV; a quote is missing or misplaced") from None


def _csv_row(names: list[str], row: list[str], where: str) -> Entry:
    if len(row) > len(names):
        raise ValueError(f"{where}: more values than the header has names")
    return _entry(dict(zip(names, row, strict=False)), where)


def _json(text: str) -> Iterator[Entry]:
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        at = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{at}this is no JSON") from None
    items = found.get("keys", [found]) if isinstance(found, dict) else found
    if not isinstance(items, list):
        raise ValueError('this is no list of keys; write ["…"] or [{"key": "…", "label": "…"}]')
    for number, item in enumerate(items, 1):
        yield _json_item(item, f"entry {number}")


def _json_item(item: object, where: str) -> Entry:
    if isinstance(item, str):
        return Entry(where, item)
    if not isinstance(item, Mapping):
        raise ValueError(f"{where}: neither a key nor an object with a key")
    return _entry(dict(zip(_names([str(name) for name in item], where), item.values(), strict=True)), where)


def _entry(values: Mapping[str, object], where: str) -> Entry:
    secret, provider = values.get("key"), values.get("provider")
    if not isinstance(secret, str) or not secret.strip():
        raise ValueError(f"{where}: no key")
    fields = {name: value for name, value in values.items() if name in FIELDS}
    return Entry(where, secret, None if provider in (None, "") else str(provider).strip(), fields)


def _names(names: list[str], where: str = "line 1") -> list[str]:
    """The columns by their proper names. Raises ValueError for one that nobody knows: it may be a slip of the pen."""
    proper = ["key" if name in SECRET_NAMES else name.replace("-", "_") for name in names]
    if "key" not in proper:
        raise ValueError(f"{where}: no column is called key; add it and fill the keys in (an export is without them)")
    if len(set(proper)) < len(proper):
        raise ValueError(f"{where}: no name may come twice, and only one column may be called key")
    for name in proper:
        if name not in FIELDS and name not in PASSED_OVER and name not in ("key", "provider"):
            raise ValueError(f"{where}: '{shown(name)}' is unknown; known: key, provider, {', '.join(FIELDS)}")
    return proper


FORMS: dict[str, Callable[[str], Iterator[Entry]]] = {"lines": _lines, "csv": _csv, "json": _json}
