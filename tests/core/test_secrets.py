"""Secrets in texts of others: found in every form, in pieces of any size, and nothing else is touched or held."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import secrets
from claude_relay.core.bodies.deltas import SpokenVeil
from claude_relay.core.secrets import SHORTEST, Matcher, Veil, spellings

KEY, OTHER = "sk-ant-api03-aB3_/+&x" * 4 + "AA", 'user:pa"ss\\wo/rd+1'
ALIAS, OTHER_ALIAS = b"relay:anthropic/k1", b"relay:proxy"
MATCHER = Matcher(((KEY.encode(), ALIAS), (OTHER.encode(), OTHER_ALIAS)))
WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "json": lambda key: json.dumps(key)[1:-1],
    "json in json": lambda key: json.dumps(json.dumps(key))[3:-3],
    "json, all of it": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON, some of it": lambda key: "".join(f"\\u{ord(c):04X}" if c in "-/+&" else c for c in key).replace('"', '\\"'),
    "url": lambda key: urllib.parse.quote(key, safe=""),
    "url, all of it": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "url twice": lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
    "html": lambda key: html.escape(key),
    "html, all of it": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "html, hexadecimal": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "html, hexadecimal with zeros": lambda key: "".join(f"&#x{ord(c):08x};" for c in key),
    "html, decimal with zeros": lambda key: "".join(f"&#{ord(c):08};" for c in key),
    "JSON, all of it, in upper case": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "json of html": lambda key: json.dumps(html.escape(key)).replace("&", "\\u0026")[1:-1],
}
ENCODED = [
    lambda key, before: base64.b64encode(before + key.encode()).decode(),
    lambda key, before: base64.urlsafe_b64encode(before + key.encode() + b"after").decode().rstrip("="),
    lambda key, before: urllib.parse.quote(base64.b64encode(before + key.encode()).decode(), safe=""),
    lambda key, before: base64.b64encode(before + key.encode() + b"!").decode().replace("/", "\\/"),
]


def in_pieces(veil: Veil | SpokenVeil, data: bytes, size: int) -> bytes:
    return b"".join(veil.feed(data[at : at + size]) for at in range(0, len(data), size)) + veil.end()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 50, 10_000])
@pytest.mark.parametrize("key", [KEY, OTHER], ids=["key", "password"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_in_pieces(way: str, key: str, size: int) -> None:
    said = WAYS[way](key)
    data = f'before {said} and {said}"}}\n\nafter'.encode()
    shown = in_pieces(Veil(MATCHER), data, size)
    alias = (ALIAS if key is KEY else OTHER_ALIAS).ljust(len(said.encode()), b"*")
    assert shown == b"before " + alias + b" and " + alias + b'"}\n\nafter'
    assert MATCHER.clean(data) == data.replace(said.encode(), ALIAS if key is KEY else OTHER_ALIAS)


@pytest.mark.parametrize("size", [1, 4, 9, 10_000])
@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", b"Bearer "])
@pytest.mark.parametrize("way", range(len(ENCODED)))
def test_base64_wherever_it_begins(way: int, before: bytes, size: int) -> None:
    data = f'{{"token": "{ENCODED[way](KEY, before)}"}}'.encode()
    shown = in_pieces(Veil(MATCHER), data, size)
    assert len(shown) == len(data)
    assert b"relay:anthropic/k1" in shown
    assert base64.b64encode(KEY.encode())[4:24] not in shown
    assert MATCHER.clean(data).startswith(b'{"token": "')


@given(st.binary(max_size=300) | st.text('sk-ant%26&#;\\u0"x/ \n', max_size=80).map(str.encode), st.integers(1, 20))
def test_other_texts_pass_as_they_are(data: bytes, size: int) -> None:
    assert MATCHER.clean(data) is data
    assert in_pieces(Veil(MATCHER), data, size) == data
    assert MATCHER.clean_end(data) == data


@given(st.data())
def test_no_piece_waits_for_longer_than_it_must(data: st.DataObject) -> None:
    """What is held is the beginning of a form, and an event's end never is."""
    veil = Veil(MATCHER)
    text = data.draw(st.text("sk-ant api03%\\&\n", max_size=40)).encode()
    veil.feed(text)
    assert veil.feed(b'"}}\n\n').endswith(b'"}}\n\n')
    assert veil.held == b""


def test_what_was_cut_off_in_a_key_is_not_shown_either() -> None:
    for cut in range(len(KEY) // 2 + 1, len(KEY)):
        data = b"it is " + KEY[:cut].encode()
        assert MATCHER.clean_end(data) == b"it is " + ALIAS
        assert b"api03-aB3" not in in_pieces(Veil(MATCHER), data, 7)
    assert MATCHER.clean_end(b"it is sk-ant-") == b"it is sk-ant-"


def test_short_secrets_are_not_looked_for() -> None:
    assert not Matcher(((b"x" * (SHORTEST - 1), b""),))
    assert len(spellings(b"12345678")) == 4


def test_a_thousand_secrets_at_once() -> None:
    many = Matcher([(f"sk-ant-{number:04d}-{KEY}".encode(), b"k%d" % number) for number in range(1000)])
    assert many.clean(f"no {WAYS['url'](f'sk-ant-0777-{KEY}')}!".encode()) == b"no k777!"
    assert many.clean_text("nothing in it \ud800") == "nothing in it \ud800"


# -- in several events


def delta(text: str) -> bytes:
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: " + json.dumps(data).encode() + b"\n\n"


PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'


def spoken(text: str, size: int) -> Iterator[bytes]:
    for at in range(0, len(text), size):
        yield delta(text[at : at + size])
        yield PING * (at % 3 == 0)
    yield STOP


def heard(data: bytes) -> str:
    lines = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]
    return "".join(line["delta"]["text"] for line in lines if "delta" in line)


@pytest.mark.parametrize("chunk", [1, 17, 100, 1 << 20])
@pytest.mark.parametrize("size", [1, 2, 5, 13, 50])
@pytest.mark.parametrize(
    "form", [KEY, base64.b64encode(KEY.encode()).decode(), urllib.parse.quote(KEY)], ids=["key", "base64", "url"]
)
def test_a_secret_in_several_deltas(form: str, size: int, chunk: int) -> None:
    said = heard(in_pieces(SpokenVeil(MATCHER), b"".join(spoken(f"It is {form}, yes", size)), chunk))
    assert said.startswith("It is ")
    assert said.endswith(", yes")
    assert "relay:anthropic/k1" in said
    assert form[12:-8] not in said


@pytest.mark.parametrize("chunk", [1, 17, 1 << 20])
@pytest.mark.parametrize("text", ["Nothing.", KEY[:30] + " no", KEY[:-1] + "?", 'quotes " and \\ and é', KEY[:40]])
def test_what_is_none_leaves_as_it_came(text: str, chunk: int) -> None:
    data = b"".join(spoken(text, 3))
    assert in_pieces(SpokenVeil(MATCHER), data, chunk) == data


def test_ordinary_events_leave_at_once() -> None:
    veil = SpokenVeil(MATCHER)
    for word in ("sk", "-ant", " is", " a", " pre", "fix"):
        assert veil.feed(delta(word)) == delta(word)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("way", ["form", "as it is", "json, all of it", "url", "html, hexadecimal"])
def test_a_secret_with_blanks(way: str, size: int) -> None:
    """Passwords and cookies may have them; forms write them as pluses."""
    secret = "user: my+pass word=1"
    said = (WAYS | {"form": urllib.parse.quote_plus})[way](secret)
    data = f"before&{said}&after".encode()
    shown = in_pieces(Veil(Matcher(((secret.encode(), ALIAS),))), data, size)
    assert shown == b"before&" + ALIAS.ljust(len(said), b"*")[: len(said)] + b"&after"


@given(st.text("ab", min_size=8, max_size=40), st.text("abc", max_size=60))
def test_the_beginning_of_a_long_secret_is_that_of_a_short_one(secret: str, text: str) -> None:
    plain, literal = text.encode(), secret.encode()
    simple = [at for at in range(len(plain)) if literal.startswith(plain[at:]) and plain[at:] != literal]
    assert secrets._beginning_of_long(plain, literal) == min(simple, default=None)
    assert secrets._beginning(plain, literal) == min(simple, default=None)


@pytest.mark.parametrize("form", ["rk-{}", "{}", 'a"{}'])
def test_each_of_many_is_found_as_if_it_were_the_only_one(form: str) -> None:
    """Whether they begin alike or not."""
    many, secrets = Matcher(), [form.format(sha256(b"%d" % n).hexdigest()[:32]).encode() for n in range(50)]
    for n, secret in enumerate(secrets):
        many.add([(secret, b"k%d" % n)])
    for n, secret in enumerate(secrets):
        one = Matcher([(secret, b"k%d" % n)])
        escaped = secret.replace(b'"', b'\\"'), b"".join(b"%%%02x" % byte for byte in secret)
        for spelled in (*spellings(secret), *escaped):
            text = b"say " + spelled[:4] + b" and " + spelled
            assert many.clean(text) == one.clean(text) != text


@pytest.mark.parametrize("many", [1, 2, 3, 40])
def test_secrets_that_come_later_are_found_beside_the_earlier_ones(many: int) -> None:
    grown = Matcher()
    for n in range(many):
        grown.add((secret_of(n),))
        text = b" ".join(secret + b" %2D" for secret, _ in map(secret_of, range(many)))
        assert grown.clean(text) == Matcher([secret_of(m) for m in range(n + 1)]).clean(text)
        assert grown.clean(text).count(b"alias") == n + 1
        half = secret_of(n)[0][:-2]
        assert grown.clean_end(b"so " + half) == b"so alias-%d" % n
        assert in_pieces(Veil(grown), b"so " + secret_of(n)[0], 4) == (b"so alias-%d" % n).ljust(16, b"*")


def secret_of(n: int) -> tuple[bytes, bytes]:
    return b"%06d-secret" % n, b"alias-%d" % n
