from __future__ import annotations

import pytest

from claude_relay.core.config.changes import Line, lines, values
from claude_relay.core.config.masking import Masked, hidden, new_literals
from claude_relay.core.config.yaml import read

SECRET = "sk-ant-api03-abcdefghijklmnop"
TEXT = f"""\
providers:
  a:
    keys: ["${{A}}", '{SECRET}', "short1"]   # was {SECRET}x
    proxy: http://me:hunter2@proxy:1
  b: {{keys: [short1], proxy: "http://${{U}}@proxy:1"}}
notices: {{webhook: https://example.com/hook/abc, secret: hush}}
proxies: {{office: {{url: "socks5://me:secret2@proxy:1"}}, spare: {{url: "http://me:${{PASSWORD}}@proxy:1"}}, plain: {{url: http://proxy:1}}}}
"""


def test_no_secret_is_shown_and_all_come_back() -> None:
    masked = Masked.of(TEXT)
    for secret in (SECRET, "short1", "hunter2", "secret2", "hook/abc", "hush"):
        assert secret not in masked.text
    assert '"${A}"' in masked.text
    assert "${U}" in masked.text
    assert "me:${PASSWORD}@" in masked.text
    assert "plain: {url: http://proxy:1}" in masked.text
    assert read(masked.text).data["providers"]["b"]["keys"] == ["‹literal 5›"]
    assert masked.restored(masked.text) == TEXT
    assert masked.restored(masked.text.replace("‹literal 5›", '"‹literal 5›"')) == TEXT  # as it is written anew
    with pytest.raises(ValueError, match="stands for nothing"):
        masked.restored("default: ‹literal 99›")


@pytest.mark.parametrize(
    "broken",
    [
        f"providers: {{a: {{keys: [{SECRET}]",
        "notices:\n  secret: hush\n : [",
        "proxies: {o: {url: 'http://me:hush@h:1'}",
    ],
)
def test_a_broken_text_shows_none_either(broken: str) -> None:
    masked = Masked.of(broken)
    assert SECRET not in masked.text
    assert "hush" not in masked.text
    assert masked.restored(masked.text) == broken


def test_a_key_that_is_typed_in_is_found() -> None:
    assert new_literals(TEXT, TEXT) == []
    assert new_literals(TEXT, TEXT.replace("short1]", "short2]")) == ["providers.b.keys[0]"]
    assert new_literals(TEXT, TEXT.replace("hush", "louder")) == ["notices.secret"]
    assert new_literals("", f"providers: {{a: {{keys: [{SECRET}]}}}}") == ["providers.a.keys[0]"]
    assert new_literals("", 'providers: {a: {keys: ["${A:-default1}"]}}') == ["providers.a.keys[0]"]


def test_differences() -> None:
    assert lines("a\nb\n", "a\nc\n")[1:] == [Line("same", "a"), Line("removed", "b"), Line("added", "c")]
    before, after = read(TEXT).data, read(TEXT.replace("hush", "louder")).data
    assert values(before, after) == ({"notices.secret": "hush"}, {"notices.secret": "louder"})
    assert SECRET not in str(hidden(before))
    assert "hush" not in str(hidden(before))
    assert values({"a": {}}, {"a": {"b": None, "c": [1]}}) == ({}, {"a.c": [1]})


@pytest.mark.parametrize("text", ["[" * 100_000, "# " + "sk-ant-0123456789abcdef " * 40_000])
def test_a_text_that_was_made_to_take_long_takes_no_longer(text: str) -> None:
    """Either took hours: the first by its depth, the second by its many secrets."""
    assert "sk-ant" not in Masked.of(text).text
    assert new_literals("", text) == []
