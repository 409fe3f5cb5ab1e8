"""What pages of all formats are made of."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from claude_relay.proxy.views import elements
from claude_relay.proxy.views.excerpts import Listed
from claude_relay.proxy.views.page import Line, Noted, Remark, page


def raws(*values: object) -> list[Raw]:
    return [Raw(msgspec.json.encode(one)) for one in values]


def role(turn: Any) -> tuple[str, object]:
    return turn["role"], turn["content"]


def turn(name: str, words: object) -> dict[str, object]:
    return {"role": name, "content": words}


def test_the_newest_turn_comes_first() -> None:
    found = Listed({}, raws(turn("user", "a"), turn("assistant", "b")))
    assert elements.turns(found, role) == [
        {"assistant": Noted("b", "2 of 2, 34 B")}, {"user": Noted("a", "1 of 2, 29 B")},
    ]  # fmt: skip


def test_older_turns_are_summarised() -> None:
    found = Listed({}, raws(*(turn("user", "x" * 20_000) for _ in range(200))))
    shown = elements.turns(found, role)
    full = [one for one in shown if isinstance(one, dict)]
    assert len(full) == 14
    assert shown[14] == Remark("186: user, 20.0 KB")
    assert shown[-1] == Remark("… 86 older ones, 1.7 MB")
    assert len(shown) == 14 + elements.SUMMARISED + 1


def test_pictures_take_no_room() -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": "A" * 400_000}}
    found = Listed({}, raws(*(turn("user", [picture]) for _ in range(5))))
    assert len([one for one in elements.turns(found, role) if isinstance(one, dict)]) == 5


def test_of_a_huge_list_both_ends_are_shown() -> None:
    found = Listed({}, raws(turn("user", "first")), raws(turn("assistant", "a"), turn("user", "b")), skipped=5_000_000)
    assert elements.turns(found, role) == [
        {"user": Noted("b", "the newest, 29 B")},
        {"assistant": Noted("a", "2 from the end, 34 B")},
        Remark("… 5.0 MB between are not shown; before them:"),
        Remark("1: user, 33 B"),
    ]


def test_a_turn_that_cannot_be_read_is_shown_as_it_is() -> None:
    found = Listed({}, [Raw(b'{"n": ' + b"1" * 5000 + b"}")])
    ((shown,),) = [one.values() for one in elements.turns(found, role) if isinstance(one, dict)]
    assert isinstance(shown, Noted)
    assert str(shown.value).startswith('{"n": 111')


@pytest.mark.parametrize(
    ("words", "line"), [("a\n  b", "a b"), ("x" * 100, "x" * 40 + "…"), ("a " * 100, "a " * 19 + "a…"), ("", "")]
)
def test_folded_texts(words: str, line: str) -> None:
    assert elements.folded(words) == line


def test_instructions_are_folded() -> None:
    def blocks(found: object) -> list[tuple[str, str]]:
        assert isinstance(found, list)
        return [(one, "marked" if n else "") for n, one in enumerate(found)]

    (raw,) = raws(["a" * 2000, "b"])
    assert elements.instructions(raw, blocks) == Noted(
        [Noted("a" * 40 + "…", "2.0 KB"), Noted("b", "1 B, marked")], "2 blocks, 2.0 KB"
    )
    (raw,) = raws(["b"])
    assert elements.instructions(raw, blocks) == Noted("b", "1 B")
    assert elements.instructions(Raw(b"{}"), lambda _: []) == Noted("…", "2 B")


def test_tools_are_folded() -> None:
    (raw,) = raws([{"name": "a", "mark": "m"}, {"name": "b"}, 3])
    found = elements.tools(raw, lambda tool: [tool.get("name", "?")], lambda tool: tool.get("mark", ""))
    assert found == Noted(Line(["a", "b", "?"]), "3, 40 B, m at a")


def test_settings_in_their_order() -> None:
    members = dict(zip("abcd", raws(1, [2], "x", None), strict=True))
    assert list(elements.settings(members, ("c", "z", "a"), ("b",)).items()) == [("c", "x"), ("a", 1), ("d", None)]
    assert elements.setting(Raw(b"[1]")) == Line([1])
    assert elements.setting(Raw(b"1" * 5000)) == "1" * 5000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("image/png", "A" * 4000, None), "image/png, 3.0 KB"),
        ((None, None, "https://a.example/x.png"), "https://a.example/x.png"),
        ((None, None, f"data:image/gif;base64,{'A' * 400}"), "image/gif, 300 B"),
        ((None, None, "data:,"), "?, 0 B"),
        ((3, {}, []), "?, 0 B"),
    ],
)
def test_media(given: tuple[object, ...], shown: str) -> None:
    assert elements.media(*given) == shown


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", {}),
        (" ", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": "wor', {"a": "wor"}),
        ("no json", "no json"),
        ({"a": 1}, {"a": 1}),
        (None, None),
    ],
)
def test_arguments(written: object, read: object) -> None:
    assert elements.arguments(written) == read


def test_calls() -> None:
    assert elements.call("tool_use", "ls", "toolu_1", {"a": 1}) == {
        "tool_use": Noted("ls", "toolu_1"),
        "input": {"a": 1},
    }
    assert elements.call("tool_use", None, 7, None) == {"tool_use": Noted("?", "")}
    assert page("t", {"a": elements.call("x", "y", "z", {})}) == "# t\na:\n  x: y # z\n  input: {}\n"


def test_lists_have_bounds() -> None:
    assert elements.items([1] * 1000) == [1] * elements.MOST
    assert elements.items({"a": 1}) == []
    assert elements.others({"a": 1, "b": None, "c": [], "d": 0, "e": 2}, "e") == {"a": 1, "d": 0}
    assert json.dumps(elements.others({}, "a")) == "{}"
