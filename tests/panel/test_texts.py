from __future__ import annotations

import io
import re

import pytest
from babel.messages.pofile import read_po

import catalogue
from claude_relay.panel.common import texts

FILLED = re.compile(r"%\(\w+\)[sd]|%[sd]")


def test_every_text_is_there_in_every_language() -> None:
    for language in texts.LANGUAGES:
        if language == "en":
            continue
        written = (catalogue.LOCALE / f"{language}.po").read_bytes()
        assert written == catalogue.update(language), "run: python scripts/lib/catalogue.py"
        for message in read_po(io.BytesIO(written), locale=language):
            strings = message.string if isinstance(message.string, tuple) else (message.string,)
            ids = message.id if isinstance(message.id, tuple) else (message.id,)
            assert all(strings), f"{language}: {message.id}"
            if message.id:
                for string in strings:
                    assert set(FILLED.findall(string)) <= {part for id in ids for part in FILLED.findall(id)}, (
                        message.id
                    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("de-DE,de;q=0.9,en;q=0.5", "en"),
        ("fr", "en"),
        ("", "en"),
        (",;=", "en"),
    ],
)
def test_the_browsers_language(wanted: str, found: str) -> None:
    from starlette.requests import HTTPConnection

    scope = {"type": "http", "headers": [(b"accept-language", wanted.encode())]}
    assert texts.language(HTTPConnection(scope)) == found


def test_numbers_as_people_write_them() -> None:
    words = texts.of("en")
    assert [words.money(usd) for usd in (4.1, 0.0412, 0.00031, 1234.5, 0, None)] == [
        "$4.10",
        "$0.041",
        "$0.0003",
        "$1,234.50",
        "$0.00",
        "–",
    ]
    assert [words.tokens(n) for n in (12, 12_400, 1_250_000, 3e9)] == ["12", "12.4k", "1.2M", "3.0G"]
    assert [words.span(s) for s in (0.85, 2.1, 130, 7300, 3 * 86400)] == ["850 ms", "2.1 s", "2 min", "2 h", "3 d"]
    assert words.percent(0.934) == "93.4 %"
