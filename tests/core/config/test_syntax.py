"""Every mistake in YAML itself names the line to look at and what to do there."""

import pytest

from claude_relay.core.config.syntax import OTHERWISE, QUOTE, REMEDIES
from claude_relay.core.config.yaml import YamlError, read

SECRET = "hunter2-hunter2-hunter2"
CASES = [
    ('listen: {proxy: "127.0.0.1:1}\nproviders:\n  a: {preset: anthropic}\n', 1, QUOTE),
    ("providers:\n  a:\n    preset: 'anthropic\nretry:\n  attempts: 3\n", 3, QUOTE),
    ('listen:\n  proxy: "127.0.0.1:1\nproviders:\n  a: {preset: x, keys: ["y"]}\n', 2, QUOTE),
    ('a: it"s\nb: [c\nd: e\n', 2, "list that begins here; close it"),
    ("providers:\n  a:\n    keys: [b, c\n    preset: anthropic\nretry: 3\n", 3, "list that begins here; close it"),
    ("providers:\n  a: {keys: [${X}]}\n", 2, "must stand in quotes"),
    ("providers:\n  a: {preset: b\nretry:\n  attempts: 3\n", 2, "mapping that begins here; close it"),
    ("providers:\n  a:\n   preset: b\n    keys: 3\n", 4, "indent the line as its neighbours"),
    ("providers:\n  a:\n    preset: b\n   keys: 3\n", 4, "the same number of blanks"),
    ("providers:\n  a:\n    preset b\n    keys: 3\n", 4, "is a ':' missing in the one above?"),
    ("a: b\nc\nd: e\n", 2, "write NAME: VALUE"),
    ("a: @b\n", 1, "put the value in quotes"),
    ("a: *b\n", 1, "no anchor above defines; a text"),
    ('a: "\\q"\n', 1, "write it twice"),
    ("a: |b\n  c\n", 1, "begins in the next line"),
    ('a: "b" c\n', 1, "something follows a value"),
    ("a: ]\n", 1, "stands here alone"),
    ("a: - b\n", 1, "begin a new line before '-'"),
    ("a:\n\tb: 3\n", 2, "a tab stands"),
    ("%YAML 3.0\n---\na: 3\n", 1, "begins with '%'"),
    ("a: 1\n---\nb: 2\n", 2, "keep one"),
    ("a: !<b c\n", 1, "leave it off"),
]


@pytest.mark.parametrize(("text", "line", "what"), CASES)
def test_a_mistake_is_found_and_mended(text: str, line: int, what: str) -> None:
    with pytest.raises(YamlError) as caught:
        read(text)
    (complaint,) = caught.value.complaints
    assert complaint.line == line
    assert what in complaint.what
    assert complaint.what != OTHERWISE
    assert "parsing" not in complaint.what
    assert "<" not in complaint.what


@pytest.mark.parametrize("text", ["a: [", "a: {", 'a: "', "a: @", "a: |", "? ", "a: *", "a: ]", "a: !<"])
def test_no_value_is_repeated(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        read(f"{text}{SECRET}\nb: : {SECRET}\n")
    assert SECRET not in str(caught.value)


def test_remedies_say_what_to_do() -> None:
    plain = ("is nested too deeply",)
    assert all("; " in remedy.what or "begins in" in remedy.what for remedy in REMEDIES if remedy.what not in plain)


def test_what_looks_like_an_open_quote_is_none() -> None:
    text = "# it's \"\na: it's\nb: 'x''y' # \"\nc: \"a \\\" b\"\nd: [e\nf: g\n"
    with pytest.raises(YamlError) as caught:
        read(text)
    assert caught.value.complaints[0].line == 5
