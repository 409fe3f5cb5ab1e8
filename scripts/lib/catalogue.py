"""Brings the catalogues of the panel up to date with its templates and code: `python scripts/lib/catalogue.py`.

New texts are added without a translation, which a test then asks for; texts that nobody uses any more go.

    texts()                      every text in English: where it stands, and its plural
    update("zh")                 the catalogue as it should be
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

PANEL = Path(__file__).parents[2] / "addon" / "claude_relay" / "panel"
LOCALE = PANEL / "locale"
METHODS = [("**/*.py", "python"), ("**/*.html", "jinja2.ext:babel_extract")]
OPTIONS = {"**/*.html": {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}}
UNSAID = (
    "#",
    *(f'"{name}' for name in ("POT-", "PO-Rev", "Generated-", "Project-", "Report-", "Last-Tr", "Language-Team")),
)
"""What a catalogue need not say of itself."""
KEYWORDS = {
    "_": None,
    "N_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


def texts() -> Iterator[tuple[str, str | tuple[str, ...], str | None]]:
    """File, text (with its plural), context."""
    found = extract_from_dir(PANEL, METHODS, OPTIONS, KEYWORDS)
    for file, _line, message, _comments, context in found:
        yield file, message, context


def update(language: str) -> bytes:
    """The catalogue's text."""
    file, fresh = (
        LOCALE / f"{language}.po",
        Catalog(locale=language, project="Claude Relay", fuzzy=False, charset="utf-8"),
    )
    for where, message, context in sorted(texts(), key=lambda found: (found[0], str(found[1]))):
        fresh.add(message, locations=[(where, 0)], context=context)
    known = read_po(io.BytesIO(file.read_bytes()), locale=language) if file.is_file() else Catalog(locale=language)
    for message in fresh:
        before = known.get(message.id, message.context) if message.id else None
        if before is not None and before.string:
            message.string = before.string
    written = io.BytesIO()
    write_po(written, fresh, width=120, no_location=True, omit_header=False, sort_output=True)
    lines = written.getvalue().decode().splitlines()
    kept = [line for line in lines if not line.startswith(UNSAID)]
    return ("\n".join(kept).strip() + "\n").encode()


def main() -> None:
    """All languages but English."""
    LOCALE.mkdir(exist_ok=True)
    for language in ("zh",):
        (LOCALE / f"{language}.po").write_bytes(update(language))


if __name__ == "__main__":
    main()
