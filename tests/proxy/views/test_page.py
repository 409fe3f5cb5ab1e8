"""Pages are YAML that says what the value says, within bounds."""

from __future__ import annotations

import doctest
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from claude_relay.proxy.views import page as module
from claude_relay.proxy.views.page import (
    GOES_ON,
    LINES,
    LONGEST_LINE,
    NODES,
    SHOWN,
    WIDTH,
    Line,
    Noted,
    Remark,
    page,
    size,
)

BEYOND = "# … cut here: the raw view has it all"


def read(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = True  # names that differ in what cannot be seen
    return reader.load(text)


def body(shown: dict[str, object], **more: int) -> str:
    return page("t", shown, **more).removeprefix("# t\n")


def test_the_example_is_true() -> None:
    assert doctest.testmod(module).failed == 0


SEEN = st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Co", "Zl", "Zp"])
TEXTS = st.text(st.one_of(SEEN, st.sampled_from("\n\t \"'#:-{}[],&*!|>%@`~?=<.")), max_size=60)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False, width=32)
SCALARS = (
    st.none()
    | st.booleans()
    | NUMBERS
    | TEXTS
    | st.sampled_from(["yes", "No", "null", "1e3", "2024-01-01", "12:30", "0x1f", "=", "<<"])
)
KEYS = st.text(SEEN, min_size=1, max_size=20) | st.sampled_from(["y", "null", "1", "-", "a: b", "# c", "<<"])
ANY = st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(KEYS, inside, max_size=4), max_leaves=12
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_page_says_what_the_value_says(value: dict[str, object]) -> None:
    assert (read(page("a value", value)) or {}) == value


@given(st.dictionaries(KEYS, VALUES.map(Line) | VALUES.map(lambda value: Noted(value, "a remark: # so")), max_size=4))
def test_lines_and_remarks_change_nothing_that_is_said(value: dict[str, Any]) -> None:
    plain = {key: one.value for key, one in value.items()}
    assert (read(page("a value", value)) or {}) == plain


@given(
    st.dictionaries(
        st.text(), st.recursive(st.text() | st.none(), lambda one: st.lists(one) | st.dictionaries(st.text(), one))
    )
)
def test_whatever_it_is_the_page_can_be_read(value: dict[str, object]) -> None:
    text = page("anything\nat all", value)
    read(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufeff]", text)


@pytest.mark.parametrize(
    "words", ["", " ", "\n", "\n\n", "a\n", "a\n\n\n", "\na", "  a\nb", "\ta\nb", "a\n \n b", " \n"]
)
def test_blanks_at_the_ends_of_texts(words: str) -> None:
    assert read(page("t", {"a": words, "b": [words, {"c": words}], "d": 1})) == {
        "a": words,
        "b": [words, {"c": words}],
        "d": 1,
    }


def test_what_cannot_be_seen_is_replaced() -> None:
    assert read(page("t", {"a": "x\x1b[2J\u202ey\ufeff\x00"})) == {"a": "x\ufffd[2J\ufffdy\ufffd\ufffd"}
    assert read(page("t", {"a": "👩\u200d💻 é 漢字"})) == {"a": "👩\u200d💻 é 漢字"}


def test_line_ends_of_all_kinds_are_line_ends() -> None:
    assert body({"a": "x\r\ny\rz"}) == "a: |-\n  x\n  y\n  z\n"


def test_short_values_stand_on_one_line() -> None:
    assert body({"a": Line({"b": [1, 2], "c": "x y"})}) == "a: {b: [1, 2], c: x y}\n"
    assert body({"a": Noted(Line(["b"]), "one")}) == "a: [b] # one\n"


def test_many_short_values_fill_lines() -> None:
    names = [f"tool_{n}" for n in range(40)]
    text = body({"tools": Noted(Line(names), "40, 1.0 KB")})
    assert text.startswith("tools: # 40, 1.0 KB\n  [tool_0, tool_1,")
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert read(text) == {"tools": names}


def test_a_line_with_a_long_text_in_it_becomes_a_block() -> None:
    assert body({"a": Line({"b": "x\n" * 200})}).startswith("a:\n  b: |\n    x\n    x\n")


def test_remarks_stand_among_items() -> None:
    assert body({"a": [1, Remark("… 3 more")]}) == "a:\n  - 1\n  # … 3 more\n"


def test_long_lines_are_wrapped_between_words() -> None:
    lines = body({"a": "word " * 60 + "\n" + "x" * LONGEST_LINE + "\n" + "y" * 200}).splitlines()[1:]
    assert max(map(len, lines)) <= LONGEST_LINE + 2
    assert lines[1].startswith(f"  {GOES_ON}word")
    assert f"  {'x' * LONGEST_LINE}" in lines
    assert "".join(line.strip().removeprefix(GOES_ON) for line in lines if "y" in line) == "y" * 200


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_base64_is_not_shown(head: str) -> None:
    text = body({"a": head + "iVBORw0KGgo" * 100_000})
    assert len(text) < 120
    assert "1.1 MB of text" in text


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 999_949, 999_950, 12_345_678)] == [
        "0 B", "999 B", "1.0 KB", "12.3 KB", "999.9 KB", "1.0 MB", "12.3 MB",
    ]  # fmt: skip


# -- bounds


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000_000,
        "word " * 1_000_000,
        "x\n" * 2_500_000,
        "\n" * 2_500_000 + "x",
        "\u202e" * 2_000_000,
        [1] * 1_000_000,
        [[]] * 1_000_000,
        {str(n): n for n in range(100_000)},
        Line(["x"] * 1_000_000),
        Line({str(n): n for n in range(100_000)}),
        Line({"a": "x" * 5_000_000}),
        {"k" * 5_000_000: 1},
        Noted(1, "n" * 5_000_000),
        ["x" * 1000] * 10_000,
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_page_has_bounds(value: object) -> None:
    text = page("t", {"a": value, "b": 1})
    assert len(text) < 2 * SHOWN
    assert text.count("\n") < LINES + NODES + 10
    read(text) if len(text) < 20_000 else None


def test_what_is_cut_says_so() -> None:
    text = page("t", {"a": "word " * 1_000_000, "b": 1})
    assert "cut: 5.0 MB of text" in text
    assert text.endswith(f"{BEYOND}\n")
    assert page("t", {"a": list(range(NODES + 9))}).endswith(f"{BEYOND}\n")
    assert page("t", {"a": 1}, room=1).endswith(f"{BEYOND}\n")


def test_what_is_deep_is_left_out() -> None:
    value: object = "bottom"
    for _ in range(300):
        value = [{"a": value}]
    text = page("t", {"a": value})
    assert "1 items inside" in text or "1 entries inside" in text
    assert max(map(len, text.splitlines())) < 120
