"""Under which keys something is kept: ids of calls, and what was said to what."""

from __future__ import annotations

from claude_relay.core.formats.conversation import Call, Conversation, Image, Part, Result, Text, Thinking, Turn
from claude_relay.core.formats.recalling import SAID, anchor, keys, said_key


def user(*parts: Part) -> Turn:
    return Turn("user", parts)


def assistant(*parts: Part) -> Turn:
    return Turn("assistant", parts)


def keys_of(*turns: Turn) -> list[str]:
    return list(keys(Conversation("claude-x", 9, turns)))


def test_calls_have_their_ids_and_texts_a_key_of_their_own():
    turns = (user(Text("Go.")), assistant(Text("I look."), Call("call_1", "Read", {})), user(Result("call_1")))
    assert keys_of(*turns) == ["call_1"]
    done = said_key(anchor(turns), "Done.")
    assert done.startswith(SAID)
    assert keys_of(*turns, assistant(Text("Done.")), user(Text("Thanks."))) == ["call_1", done]


def test_blanks_around_a_text_are_no_matter_and_what_was_answered_is():
    asked = (user(Text("Go.")),)
    assert said_key(anchor(asked), " Done.\n") == said_key(anchor(asked), "Done.")
    others = (user(Text("Stop.")), user(Text("Go."), Text("Now.")), user(Result("call_1")), user(Image(data="AA")))
    assert len({said_key(anchor((turn,)), "Done.") for turn in (*asked, *others)}) == 5
    assert anchor(()) == anchor((assistant(Text("Hi")),))


def test_the_last_turn_of_the_users_counts():
    first, system = user(Text("Go.")), Turn("system", (Text("Be short."),))
    assert anchor((first, assistant(Text("a")), user(Text("And?")), system)) == anchor((user(Text("And?")),))


def test_long_texts_differ_by_their_ends_and_their_length():
    texts = ["a" * 5000, "a" * 5001, "b" + "a" * 4999, "a" * 4999 + "b"]
    assert len({said_key("", text) for text in texts}) == 4


def test_a_turn_that_ends_with_something_else_has_no_key():
    assert keys_of(user(Text("Go.")), assistant(Text("a"), Thinking("hm"))) == []
