"""Server-sent events from bytes in any pieces, against a plain reading of the standard."""

import doctest
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies import sse
from claude_relay.core.bodies.sse import MAX_EVENT, Event, SseParser
from linear import TOO_MUCH, growth

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts").glob("*.sse"))
every_transcript = pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)


def by_the_standard(data):
    """Names and data of a stream's events, line by line as the standard tells it."""
    events, name, lines = [], b"", []
    ended = re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))[:-1]
    for line in ended:
        if line == b"":
            if lines:
                events.append((name.decode("utf-8", "replace"), b"\n".join(lines)))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            lines.append(value)
    return events


def read(pieces):
    """Name, data and absolute start of the events in the pieces."""
    parser, events, read_so_far = SseParser(), [], 0
    for piece in pieces:
        for event in parser.feed(piece):
            assert event.start < event.end <= len(piece)
            assert event.end >= 1  # it became whole in this piece
            events.append((event.name, event.data, read_so_far + event.start))
        read_so_far += len(piece)
    return events


def by_bytes(data):
    return [data[n : n + 1] for n in range(len(data))]


@every_transcript
def test_whole_by_bytes_and_split_at_every_offset(path):
    data = path.read_bytes()
    whole = read([data])
    assert [event[:2] for event in whole] == by_the_standard(data)
    assert all(event[0] for event in whole)
    assert read(by_bytes(data)) == whole
    for n in range(len(data)):
        assert read([data[:n], data[n:]]) == whole


@every_transcript
def test_line_ends_make_no_difference(path):
    plain = path.read_bytes().replace(b"\r\n", b"\n")
    expected = by_the_standard(plain)
    for end in (b"\r\n", b"\r"):
        data = plain.replace(b"\n", end)
        assert [event[:2] for event in read([data])] == expected
        assert [event[:2] for event in read(by_bytes(data))] == expected


@every_transcript
def test_an_event_begins_where_its_first_line_begins(path):
    data = path.read_bytes()
    for event in SseParser().feed(data):
        assert data[: event.start].endswith((b"\n\n", b"\r\n\r\n")) or event.start == 0
        assert data[event.start : event.start + 6] in (b"event:", b"id: 7\n", b": keep")
        assert data[: event.end].endswith((b"\n\n", b"\r\n\r\n"))
        assert event.data in data[event.start : event.end]


STREAMS = [
    (b"data: x\n\n", [("", b"x")]),
    (b"data:x\n\n", [("", b"x")]),
    (b"data:  x \n\n", [("", b" x ")]),
    (b"data\n\n", [("", b"")]),
    (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
    (b"event: e\n\n", []),
    (b"event: e\n\ndata: x\n\n", [("", b"x")]),
    (b"event: a\nevent: b\ndata: x\n\n", [("b", b"x")]),
    (b"data: x\nevent: e\n\n", [("e", b"x")]),
    (b"event: ping\ndata: \n\n", [("ping", b"")]),
    (b"event: ping\ndata: x\nid: 1\n\n", [("ping", b"x")]),
    (b"event: ping\ndata: x\ndata: y\n\n", [("ping", b"x\ny")]),
    (b"event:ping\ndata:x\n\n", [("ping", b"x")]),
    (b"event: \xff\ndata: x\n\n", [("\ufffd", b"x")]),
    (b": comment\n\n:\n\n", []),
    (b": comment\ndata: x\n\n", [("", b"x")]),
    (b"id: 1\nretry: 5\nfoo: bar\nfoo\ndata: x\n\n", [("", b"x")]),
    (b" data: x\nDATA: x\n\n", []),
    (b"\n\n\n\ndata: x\n\n\n\n", [("", b"x")]),
    (b"data: x", []),
    (b"data: x\n", []),
    (b"\xef\xbb\xbfdata: x\n\n", [("", b"x")]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
    (b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [("", b"x")]),
    (b"\xef\xbbdata: x\n\n", []),
    (b"data: a\r\n\r\ndata: b\r\rdata: c\n\rdata: d\r\n\n", [("", b"a"), ("", b"b"), ("", b"c"), ("", b"d")]),
    (b"event: ping\ndata: a\rdata: b\n\n", [("ping", b"a\nb")]),
    ("data: \u2028\u2029\x85\x0b\x0c\x1c\n\n".encode(), [("", "\u2028\u2029\x85\x0b\x0c\x1c".encode())]),
]


@pytest.mark.parametrize(("data", "events"), STREAMS)
def test_streams(data, events):
    assert by_the_standard(data) == events
    assert [event[:2] for event in read([data])] == events
    assert [event[:2] for event in read(by_bytes(data))] == events


ODDS_AND_ENDS = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b"\r\n\r\n",
            b"data",
            b"data: ",
            b"event: ping",
            b"event: message_stop\ndata: {}\n\n",
            b":",
            b" ",
            b"{}",
            b"\xef\xbb\xbf",
            b"\xe2\x80\xa8",
            b"id",
        ]
    ),
    max_size=16,
).map(b"".join)


@given(ODDS_AND_ENDS | st.binary(max_size=60), st.lists(st.integers(0, 80), max_size=6))
def test_any_split_of_anything(data, cuts):
    whole = read([data])
    assert [event[:2] for event in whole] == by_the_standard(data)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert read([data[a:b] for a, b in pairwise(edges)]) == whole


def test_offsets():
    parser = SseParser()
    assert parser.feed(b"\nevent: ping\ndata: {}\n\n: c\n\nevent: er") == [Event("ping", b"{}", 1, 23)]
    assert parser.feed(b"ror\ndata: x\n") == []
    assert parser.feed(b"\ndata: y\n\n") == [Event("error", b"x", -21, 1), Event("", b"y", 1, 10)]


def test_idle_between_events():
    parser = SseParser()
    assert not parser.idle  # a byte order mark may come
    parser.feed(b"data: x\n\n")
    assert parser.idle
    parser.feed(b"d")
    assert not parser.idle
    parser.feed(b"ata: x\n\n")
    assert parser.idle


def test_the_event_that_lacks_its_blank_line():
    parser = SseParser()
    assert [event.name for event in parser.feed(b"event: ping\ndata: {}\n\nevent: message_stop\ndata: {}")] == ["ping"]
    assert [(event.name, event.data) for event in parser.end()] == [("message_stop", b"{}")]
    assert parser.end() == []
    assert SseParser().end() == []


@pytest.mark.parametrize("size", [65536, 2**20, MAX_EVENT + 100])
def test_an_event_without_end_is_given_up(size):
    data = b"event: ping\ndata: {}\n\ndata: " + bytes(MAX_EVENT + 1) + b"\n\nevent: ping\ndata: {}\n\n"
    parser = SseParser()
    events = [event for n in range(0, len(data), size) for event in parser.feed(data[n : n + size])]
    assert [event.name for event in events] == ["ping"]
    assert parser.dead


def test_a_large_event_in_small_pieces_is_read_in_linear_time():
    def read(pieces: int) -> None:
        parser = SseParser()
        for _ in range(pieces):
            assert parser.feed(b"x" * 1000) == []
        assert not parser.dead

    assert growth(read, lambda pieces: pieces, (250, 1000, 4000)) < TOO_MUCH


def test_examples_in_the_documentation():
    assert doctest.testmod(sse).failed == 0
