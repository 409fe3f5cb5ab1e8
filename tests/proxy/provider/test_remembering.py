"""Slow questions: asked once, waited for no longer than is bearable, remembered for a while."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine

import pytest

from claude_relay.proxy.provider import remembering
from claude_relay.proxy.provider.remembering import Remembered
from waiting import PATIENCE


def run[**P](test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test in an event loop of its own."""

    @functools.wraps(test)
    def whole(*given: P.args, **named: P.kwargs) -> None:
        asyncio.run(test(*given, **named))

    return whole


def saying(*answers: str | None) -> tuple[Callable[[], str | None], list[str | None]]:
    """A question, and the answers that are left."""
    left = list(answers)
    return (lambda: left.pop(0)), left


@run
async def test_an_answer_is_remembered() -> None:
    remembered, (fetch, left) = Remembered[str](PATIENCE), saying("a", "b", "c")
    assert [await remembered.get("x", fetch) for _ in range(3)] == ["a", "a", "a"]
    assert await remembered.get("y", fetch) == "b"
    assert left == ["c"]


@run
async def test_nobody_waits_longer_than_is_bearable() -> None:
    go, asked = threading.Event(), []

    def fetch() -> str:
        asked.append(1)
        go.wait()
        return "a"

    remembered = Remembered[str](0.05)
    try:
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*[remembered.get("x", fetch) for _ in range(3)]) == [None] * 3
            assert await remembered.get("x", fetch) is None
    finally:
        go.set()
    remembered._patience = PATIENCE
    assert await remembered.get("x", fetch) == "a"
    assert len(asked) == 1


@pytest.mark.parametrize("will_do", [True, False])
@run
async def test_what_was_known_stands_in(monkeypatch: pytest.MonkeyPatch, will_do: bool) -> None:
    monkeypatch.setattr(remembering, "FRESH", -1.0)
    monkeypatch.setattr(remembering, "FRESH_FAILURE", -1.0)
    remembered, (fetch, _) = Remembered[str](PATIENCE), saying(None, "a", None, "b", "c")
    assert await remembered.get("x", fetch) is None
    assert await remembered.get("x", fetch) == "a"
    said = []
    while "b" not in said:
        said.append(await remembered.get("x", fetch, known_will_do=will_do))
        await asyncio.sleep(0)
    assert said[0] == "a"
    assert will_do or said == ["a", "b"]


@run
async def test_the_oldest_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MOST", 2)
    remembered, (fetch, _) = Remembered[str](PATIENCE), saying("a", "b", "c", "d")
    assert [await remembered.get(place, fetch) for place in ("x", "y", "z", "y", "x")] == ["a", "b", "c", "b", "d"]


@run
async def test_where_the_last_answer_will_do_nobody_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "FRESH", -1.0)
    go, remembered = threading.Event(), Remembered[str](10 * PATIENCE)
    assert await remembered.get("x", lambda: "a") == "a"
    try:
        async with asyncio.timeout(PATIENCE):
            assert await remembered.get("x", lambda: str(go.wait()), known_will_do=True) == "a"
    finally:
        go.set()


@run
async def test_who_does_not_answer_is_soon_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "FRESH_FAILURE", -1.0)
    remembered, (fetch, left) = Remembered[str](PATIENCE), saying(None, "a", "b")
    assert [await remembered.get("x", fetch) for _ in range(3)] == [None, "a", "a"]
    assert left == ["b"]
