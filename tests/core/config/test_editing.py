from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.config.editing import REMOVED, EditError, edited
from claude_relay.core.config.yaml import read

SHIPPED = (Path(__file__).parents[3] / "relay.yaml").read_text()

# --- properties: a text in any style, one change, and nothing else is different ---

WORDS = st.sampled_from(
    ["a", "glm", "claude-*", "${KEY}", "yes", "1", "", " x", "it's", 'say "so"', "ü#", "a: b", "😀", "x\ny", "~"]
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**6) | st.sampled_from([0.8, 1.5]) | WORDS
NAMES = st.sampled_from(["a", "b", "c", "glm", "claude-*", "x y", "yes", "é"])
SMALL = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
SECTIONS = st.sampled_from(["providers", "routes", "budgets", "default", "retry"])
DATA = st.dictionaries(SECTIONS, SMALL | st.dictionaries(NAMES, SMALL, max_size=4) | st.lists(SMALL, max_size=4))


@st.composite
def written(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str], str]:
    """Data, the text of each section, and the end of lines."""
    data = draw(DATA)
    eol = draw(st.sampled_from(["\n", "\r\n"]))
    pieces = {}
    for name, value in data.items():
        lines = [draw(st.sampled_from(["", f"# about {name}", "#\ttabs"])), *_entry(draw, name, value, 0)]
        pieces[name] = "".join(line + eol for line in lines)
    return data, pieces, eol


def _entry(draw: st.DrawFn, name: str, value: Any, indent: int) -> list[str]:
    comment = draw(st.sampled_from(["", "   # note", " # ]}:-"]))
    head = f"{' ' * indent}{json.dumps(name, ensure_ascii=False)}:"
    if not isinstance(value, dict | list) or not value or draw(st.booleans()):
        return [f"{head} {_flow(draw, value)}{comment}"]
    below = indent + 2 if isinstance(value, dict) or draw(st.booleans()) else indent
    return [head + comment, *_block(draw, value, below)]


def _block(draw: st.DrawFn, value: Any, indent: int) -> list[str]:
    lines = []
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        above = draw(st.sampled_from(["", "", "blank", "comment"]))
        lines += [""] if above == "blank" else [f"{' ' * indent}# c{name}"] if above == "comment" else []
        if isinstance(value, dict):
            lines += _entry(draw, name, part, indent)
        elif isinstance(part, dict) and part and draw(st.booleans()):
            first, *others = [line for n, v in part.items() for line in _entry(draw, n, v, indent + 2)]
            lines += [f"{' ' * indent}- {first.lstrip()}", *others]
        else:
            lines.append(f"{' ' * indent}- {_flow(draw, part)}")
    return lines


def _flow(draw: st.DrawFn, value: Any) -> str:
    blank = draw(st.sampled_from(["", " "]))
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(n, ensure_ascii=False)}: {_flow(draw, v)}" for n, v in value.items())
        return "{" + blank + inner + blank + "}"
    if isinstance(value, list):
        return "[" + blank + ",  ".join(_flow(draw, part) for part in value) + blank + "]"
    return json.dumps(value, ensure_ascii=False)


@settings(max_examples=50, deadline=None)
@given(written(), SECTIONS, SMALL | st.dictionaries(NAMES, SMALL, max_size=4) | st.lists(SMALL, max_size=4))
def test_one_section_changes_and_no_line_of_another(
    text: tuple[dict[str, Any], dict[str, str], str], section: str, value: Any
) -> None:
    data, pieces, _ = text
    before = "".join(pieces.values())
    after = edited(before, (section,), value)
    assert read(after).data == data | {section: value}
    names = list(pieces)
    at = names.index(section) if section in pieces else len(names)
    assert after.startswith("".join(pieces[name] for name in names[:at]))
    assert after.endswith("".join(pieces[name] for name in names[at + 1 :]))


@settings(max_examples=40, deadline=None)
@given(written(), st.data())
def test_what_goes_and_comes_back_leaves_everything_else(
    text: tuple[dict[str, Any], dict[str, str], str], data: st.DataObject
) -> None:
    values, pieces, eol = text
    before = "".join(pieces.values())
    places = [(s, n) for s, inner in values.items() if isinstance(inner, dict) for n in inner]
    if not places:
        return
    section, name = data.draw(st.sampled_from(places))
    after = edited(before, (section, name), REMOVED)
    assert read(after).data == values | {section: {n: v for n, v in values[section].items() if n != name}}
    others = [line for line in before.split(eol) if f"# c{name}" not in line and "about" in line]
    assert [line for line in after.split(eol) if "about" in line] == others
    assert ("\r\n" in after) == ("\r\n" in before)
    assert edited(before, (section, name), values[section][name]) == before


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["\n", "\r\n"]))
def test_an_order_takes_its_comments_along(order: list[int], eol: str) -> None:
    chunks = [f"  # route {n}{eol}  - match: {{model: 'm{n}*'}}   # m{n}{eol}    to: [p{n}]{eol}" for n in range(4)]
    head, tail = f"routes:  # all{eol}", f"{eol}# the end{eol}"
    routes = [{"match": {"model": f"m{n}*"}, "to": [f"p{n}"]} for n in order]
    after = edited(head + "".join(chunks) + tail, ("routes",), routes)
    assert after == head + "".join(chunks[n] for n in order) + tail


# --- cases ---


def lines_of(before: str, after: str) -> tuple[list[str], list[str]]:
    """What went and what came."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("place", "value", "gone", "come"),
    [
        (
            ("default",),
            "glm",
            ["default: null                 # PROVIDER"],
            ["default: glm                  # PROVIDER"],
        ),
        (
            ("retry", "attempts"),
            7,
            ["  attempts: 5                 # tries"],
            ["  attempts: 7                 # tries"],
        ),
        (("providers", "anthropic", "keys"), REMOVED, ['    keys: ["${ANTHROPIC_API_KEYS}"]   # export'], []),
        (
            ("providers", "glm"),
            {"preset": "zhipu", "keys": ["${K}"]},
            [],
            ["  glm:", "    preset: zhipu", '    keys: ["${K}"]'],
        ),
        (("budgets",), [{"per": "day", "usd": 50}], ["budgets: []"], ["budgets:   ", "  - {per: day, usd: 50}"]),
        (("routes",), [{"to": ["anthropic"]}, {"to": ["b"]}], [], ["  - to: [b]"]),
    ],
)
def test_the_shipped_file(place: tuple[str, ...], value: Any, gone: list[str], come: list[str]) -> None:
    went, came = lines_of(SHIPPED, edited(SHIPPED, place, value))
    assert [line[: len(start)] for line, start in zip(went, gone, strict=True)] == gone
    assert [line[: len(start)] for line, start in zip(came, come, strict=True)] == come


@pytest.mark.parametrize(
    ("before", "place", "value", "after"),
    [
        ("", ("providers", "a"), {"preset": "zhipu"}, "providers:\n  a:\n    preset: zhipu\n"),
        ("# mine\n", ("default",), "a", "# mine\ndefault: a\n"),
        ("\ufeffdefault: a\r\n", ("default",), "b", "\ufeffdefault: b\r\n"),
        ("default: a", ("default",), "b", "default: b"),
        ("default: 'a'  # x\n", ("default",), "b*", "default: 'b*' # x\n"),
        ("{default: a, log: {json: true}}\n", ("log", "json"), False, "{default: a, log: {json: false}}\n"),
        ("a: {b: [x, 'y', z]}\n", ("a", "b"), ["x", "z"], "a: {b: [x, z]}\n"),
        ("a:\n- x\n- y\nb: 1\n", ("a",), ["y", "x"], "a:\n- y\n- x\nb: 1\n"),
        ("a:\nb: 1\n", ("a",), [1], "a:\n  - 1\nb: 1\n"),
        ("a: |\n  x\n  y\nb: 1\n", ("a",), "z", "a: z\nb: 1\n"),
        ("a: &p {x: 1}\nb: *p\nc:\n  <<: *p\n", ("b", "x"), 2, "a: &p {x: 1}\nb: {x: 2}\nc:\n  <<: *p\n"),
        ("a: &p {x: 1}\nc:\n  <<: *p\n  y: 2\n", ("c", "x"), 3, "a: &p {x: 1}\nc:\n  <<: *p\n  y: 2\n  x: 3\n"),
        ("a: &p {x: 1}\nc:\n  d: *p\n", ("a", "x"), 3, "a: &p {x: 3}\nc:\n  d: {x: 1}\n"),
        ("---\na: 1\n...\n", ("a",), 2, "---\na: 2\n...\n"),
        (
            "providers:\n  a:\n    models: {x: 1, '*': 2}\n",
            ("providers", "a", "models"),
            {"*": 2, "x": 1},
            "providers:\n  a:\n    models: {'*': 2, x: 1}\n",
        ),
    ],
)
def test_styles(before: str, place: tuple[str, ...], value: Any, after: str) -> None:
    found = edited(before, place, value)
    if place == ("b", "x"):  # a section is written line by line
        after = after.replace("b: {x: 2}", "b:\n  x: 2")
    assert found == after


def test_what_an_anchor_still_needs_is_refused() -> None:
    with pytest.raises(EditError, match="anchor"):
        edited("a: &p {x: 1}\nb: *p\n", ("a",), REMOVED)
    with pytest.raises(EditError, match="anchor"):
        edited("a: &p {x: 1}\nb:\n  <<: *p\n  y: 1\n", ("b", "x"), REMOVED)
