"""The estimate of input tokens: known counts, what makes it grow, and that nothing makes it raise."""

import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats import counting
from claude_relay.core.formats.conversation import (
    Call,
    Conversation,
    Document,
    Image,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.counting import MOST_OF_AN_IMAGE, PAGE, UNKNOWN_PAGES, estimate, image_tokens, pdf_pages
from waiting import PATIENCE


def conversation(*parts, **more) -> Conversation:
    return Conversation("m", 100, (Turn("user", parts),), **more)


EMPTY = estimate(conversation())
LONG = "Some words, and then some more of them.\n" * 200


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 8),
        ("<|endoftext|>", 7),
        ("half a pair: \ud83d.", 5),
    ],
)
def test_texts_count_as_the_vocabulary_has_them(text: str, tokens: int) -> None:
    # the first four: https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb
    assert estimate(conversation(Text(text))) - EMPTY == tokens


def test_a_short_request_is_near_claudes_own_count() -> None:
    # 14: https://docs.claude.com/en/docs/build-with-claude/token-counting
    assert estimate(conversation(Text("Hello, Claude"), system=(Text("You are a scientist"),))) == pytest.approx(
        14, abs=3
    )


def test_pieces_of_a_long_text_count_like_the_whole() -> None:
    whole = estimate(conversation(Text(LONG * 8)))
    assert whole - EMPTY == pytest.approx(200 * 8 * 10, rel=0.01)


# -- what makes it grow

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}


@pytest.mark.parametrize(
    ("bigger", "least"),
    [
        (conversation(Text("Hello"), system=(Text(LONG),)), 1000),
        (conversation(Text("Hello"), Text(LONG)), 1000),
        (conversation(Text("Hello"), Thinking(LONG, foreign=True)), 1000),
        (conversation(Text("Hello"), Call("toolu_1", "get_weather", {"city": LONG})), 1000),
        (conversation(Text("Hello"), Result("toolu_1", (Text(LONG),))), 1000),
        (conversation(Text("Hello"), Result("toolu_1", (Image(url="https://x.example/a.png"),))), MOST_OF_AN_IMAGE),
        (conversation(Text("Hello"), Document(url="https://x.example/a.pdf")), PAGE * UNKNOWN_PAGES),
        (conversation(Text("Hello"), tools=(Tool("get_weather", LONG, SCHEMA),)), 1000),
        (conversation(Text("Hello"), tools=(Tool("get_weather", "", SCHEMA),)), 20),
        (conversation(Text("Hello"), schema=SCHEMA), 20),
        (conversation(Text("Hello"), web_search={"max_uses": 3}), 3),
        (Conversation("m", 1, (*conversation(Text("Hello")).turns, Turn("assistant", (Call("t", "f", {}),)))), 5),
    ],
)
def test_everything_that_a_model_reads_counts(bigger: Conversation, least: int) -> None:
    assert estimate(bigger) - estimate(conversation(Text("Hello"))) >= least


@pytest.mark.parametrize(
    "same",
    [
        conversation(Text("Hello"), Thinking(LONG, "signature")),
        conversation(Text("Hello"), user=LONG, stops=(LONG,), notes=(LONG,)),
        replace(conversation(Text("Hello")), max_tokens=64000, model="another"),
    ],
)
def test_what_no_other_model_reads_does_not(same: Conversation) -> None:
    assert estimate(same) == estimate(conversation(Text("Hello")))


# -- pictures

EXIF = b"\xff\xe1" + pack(">H", 60_002) + b"\xff\xc0" * 30_000


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + pack("<HH", width, height) + bytes(9)


def jpeg(width: int, height: int) -> bytes:
    frame = b"\xff\xff\xc2" + pack(">HBHH", 17, 8, height, width) + bytes(12)
    return b"\xff\xd8" + EXIF + b"\xff\xc4\x00\x04ab" + b"\xff\x01" + frame


def webp(kind: bytes, data: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + data + bytes(9)


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + pack("<HH", width | 0x4000, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + pack("<I", (width - 1) | (height - 1) << 14))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


@pytest.mark.parametrize("kind", [png, gif, jpeg, lossy, lossless, extended])
@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        # the squares: https://docs.claude.com/en/docs/build-with-claude/vision
        (200, 200, 53),
        (1000, 1000, 1333),
        (1092, 1092, 1590),
        (1, 1, 1),
        (3136, 784, 820),
        (392, 3136, 410),
        (8000, 8000, MOST_OF_AN_IMAGE),
    ],
)
def test_a_picture_costs_its_area(kind, width: int, height: int, tokens: int) -> None:
    assert image_tokens(b64encode(kind(width, height)).decode()) == tokens


@pytest.mark.parametrize("kind", [png, gif, jpeg, lossy, lossless, extended])
def test_a_picture_cut_anywhere_counts_as_the_largest_or_as_it_is(kind) -> None:
    whole = kind(300, 400)
    lengths = [*range(64), *range(len(whole) - 40, len(whole))]
    cut = {image_tokens(b64encode(whole[:length]).decode()) for length in lengths if length > 0}
    assert cut == {160, MOST_OF_AN_IMAGE}


@pytest.mark.parametrize("data", ["", "A", "?!", "naïve", "////", b64encode(png(0, 5)).decode()])
def test_no_picture_counts_as_the_largest(data: str) -> None:
    assert image_tokens(data) == MOST_OF_AN_IMAGE


# -- documents


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (b"", UNKNOWN_PAGES),
        (b"%PDF-1.7 <</Type /Pages /Count 2>> <</Type /Page/Parent 1>> <</Type/Page>>", 2),
        (b"%PDF-1.7 " + bytes(30_000), 1),
        (b"%PDF-1.7 " + bytes(500_000), 10),
    ],
)
def test_pages_are_counted_or_guessed_by_size(data: bytes, pages: int) -> None:
    assert pdf_pages(b64encode(data).decode()) == pages


# -- whatever comes

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)  # half surrogate pairs, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
DATA = st.binary(max_size=60).map(lambda data: b64encode(data).decode()) | TEXTS
PLAIN = st.builds(Text, TEXTS) | st.builds(Image, data=DATA, url=TEXTS) | st.builds(Document, data=DATA, title=TEXTS)
PARTS = (
    PLAIN
    | st.builds(Thinking, TEXTS, foreign=st.booleans())
    | st.builds(Call, TEXTS, TEXTS, OBJECTS)
    | st.builds(Result, TEXTS, st.lists(PLAIN, max_size=3).map(tuple))
)
TURNS = st.builds(Turn, st.just("user"), st.lists(PARTS, min_size=1, max_size=3).map(tuple))
CONVERSATIONS = st.builds(
    Conversation,
    TEXTS,
    st.just(1),
    st.lists(TURNS, max_size=3).map(tuple),
    tools=st.lists(st.builds(Tool, TEXTS, TEXTS, OBJECTS), max_size=2).map(tuple),
    schema=st.none() | OBJECTS,
)


@settings(max_examples=60, deadline=None)
@given(CONVERSATIONS, TURNS)
def test_a_turn_more_is_never_less(conversation: Conversation, turn: Turn) -> None:
    before = estimate(conversation)
    assert 1 <= before < estimate(replace(conversation, turns=(*conversation.turns, turn)))


def test_a_json_too_deep_to_write_counts_as_nothing() -> None:
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    assert estimate(conversation(Call("t", "f", {"deep": deep}))) < 50


ALONE = f"""
import sys
sys.path[:0] = {sys.path!r}
from claude_relay.core.formats import counting
from claude_relay.core.formats.conversation import Conversation, Text, Turn
assert "splintr" not in sys.modules
import os, resource, splintr
lowest = os.dup(0)
os.close(lowest)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
try:
    os.dup(0)
except OSError:
    print(counting.estimate(Conversation("m", 1, (Turn("user", (Text("Hello"),)),))))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on descriptors there")
def test_counting_needs_no_file_and_no_socket() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", ALONE], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("8\n", "")


def test_no_words_of_a_conversation_stay_in_the_vocabulary() -> None:
    estimate(conversation(Text(LONG)))
    assert counting._encoder().cache_len == 0
