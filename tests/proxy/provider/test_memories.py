"""What is remembered of translated turns: bounded in bytes, and what falls out is read from the database again."""

from __future__ import annotations

import asyncio
import doctest
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.config import parse
from claude_relay.core.formats.conversation import Call, Conversation, Turn
from claude_relay.proxy.provider import memories as memories_module
from claude_relay.proxy.provider.memories import MOST, Memories
from claude_relay.proxy.request.translating import LONGEST_MEMORY, Translator
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored

MIB = 1024 * 1024


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(memories_module).failed == 0


def test_what_was_used_last_stays() -> None:
    found = Memories(most=3000)
    found.keep({call: call * 500 for call in "abc"})
    assert len(found) == 3
    assert found.find(["a"]) == {"a": "a" * 500}
    found.keep({"d": "d" * 500})
    assert found.find("abcd").keys() == {"a", "c", "d"}


def test_a_new_text_takes_the_place_of_the_old_one() -> None:
    found = Memories()
    found.keep({"a": "x" * 1000})
    before = found.bytes
    found.keep({"a": "y" * 10})
    assert (found.find(["a"]), len(found)) == ({"a": "y" * 10}, 1)
    assert found.bytes == before - 990


texts = st.text(alphabet=st.sampled_from("aé€😀"), max_size=400)


@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), texts, max_size=4), max_size=12))
def test_the_bound_holds_whatever_comes(turns: list[dict[str, str]]) -> None:
    """In bytes: a character may have four. The newest ones are there, as far as they fit."""
    found, last = Memories(most=2500), dict[str, str]()
    for turn in turns:
        found.keep(turn)
        last |= turn
        assert 0 <= found.bytes <= 2500
        kept = found.find(list(last))
        assert kept == {call: last[call] for call in kept}
    found.most = 0
    found.keep({})
    assert (len(found), found.bytes) == (0, 0)


@pytest.mark.parametrize("character", ["x", "😀"])
def test_it_really_takes_no_more_than_that(character: str) -> None:
    assert MOST == 32 * MIB
    found = Memories()
    tracemalloc.start()
    try:
        for number in range(4000):
            found.keep({f"call_{number}": character * (16 * 1024) + str(number)})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert MOST // 2 < held < MOST + MIB


def test_small_ones_are_counted_with_what_they_take_themselves() -> None:
    found = Memories(most=MIB)
    tracemalloc.start()
    try:
        for number in range(20_000):
            found.keep({f"call_{number}": f"s{number}"})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MIB * 5 // 4


# -- with the database


def conversation(parts: tuple[Call, ...]) -> Conversation:
    return Conversation("m", 100, (Turn("assistant", parts),))


def test_what_falls_out_is_read_from_the_database(tmp_path: Path) -> None:
    """A conversation of 40 calls whose memories have room for a few only: every turn finds all of them."""
    runtime = Runtime.of(parse(json.dumps({"providers": {"p": {"preset": "anthropic"}}}), environ={}))
    translator = Translator()
    translator.stored = Stored(tmp_path / "relay.db", {}, lambda: runtime, lambda issued: None)
    translator.memories.most = 4 * LONGEST_MEMORY
    said = {f"call_{number}": str(number) * (LONGEST_MEMORY // 2) for number in range(10)}
    parts = tuple(Call(call, "tool", {}) for call in said)

    async def live() -> None:
        for call, what in said.items():
            await translator.remember({call: what})
        assert 3 <= len(translator.memories) < len(said)
        for _ in range(2):
            assert await translator.recall(conversation(parts)) == said
            assert translator.memories.bytes <= translator.memories.most
        await translator.remember({"too long": "x" * (LONGEST_MEMORY + 1)})
        assert await translator.recall(conversation((Call("too long", "tool", {}),))) == {}

    try:
        asyncio.run(live())
    finally:
        translator.stored.close()


def test_what_was_read_is_at_hand_for_the_next_turn(tmp_path: Path) -> None:
    runtime = Runtime.of(parse(json.dumps({"providers": {"p": {"preset": "anthropic"}}}), environ={}))
    translator = Translator()
    translator.stored = Stored(tmp_path / "relay.db", {}, lambda: runtime, lambda issued: None)
    turn = conversation((Call("call_1", "tool", {}),))

    async def live() -> None:
        await translator.remember({"call_1": "a signature"})
        translator.memories = Memories()
        assert await translator.recall(turn) == {"call_1": "a signature"}

    try:
        asyncio.run(live())
    finally:
        translator.stored.close()
    translator.stored = None
    assert asyncio.run(translator.recall(turn)) == {"call_1": "a signature"}
