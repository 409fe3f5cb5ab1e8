"""Nothing that reads bytes of clients or upstreams takes worse than linear time.

`CASES` has every function that does, with its worst input; a new function is one more line. `USES` has every compiled pattern of the
package that sees such bytes, with the method by which it is used: its worst texts are found by trying. What is in neither, and not in
`TRUSTED`, fails a test.
"""

from __future__ import annotations

import gzip
import importlib
import logging
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from mitmproxy.addons.next_layer import NeedsMoreData
from mitmproxy.connection import Client
from mitmproxy.net.http import http1

import claude_relay
from claude_relay.core import endpoints, estimate, printable, secrets, visitors
from claude_relay.core.accounting import batches, needs, passed
from claude_relay.core.accounting.meter import Meter
from claude_relay.core.accounting.usage_reports import canonical
from claude_relay.core.bodies import facts as body
from claude_relay.core.bodies import legible, lenient, resources, sniff
from claude_relay.core.bodies import ratelimits as limits
from claude_relay.core.bodies.decode import Decoder, codings
from claude_relay.core.bodies.deltas import SpokenVeil
from claude_relay.core.bodies.gate import Gate
from claude_relay.core.bodies.sse import SseParser
from claude_relay.core.exchange import Endpoint, Failure, Outcome
from claude_relay.core.formats import FORMATS, counting
from claude_relay.core.formats import error_text as telling
from claude_relay.core.formats.answer_blocks import arguments_of
from claude_relay.core.formats.base import Asked, Unsuited
from claude_relay.core.formats.claude import bodies as anthropic
from claude_relay.core.formats.claude import reader as reading
from claude_relay.core.formats.errors import claude_problem, stated_wait
from claude_relay.core.formats.gemini import models as gemini_models
from claude_relay.core.formats.openai import families
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from claude_relay.core.redacting import shapes
from claude_relay.core.redacting.redactor import Exchange, Redactor
from claude_relay.core.retry import verdicts
from claude_relay.core.routing.routes import fits
from claude_relay.core.secrets import Matcher, Veil
from claude_relay.proxy.access import trail
from claude_relay.proxy.log import folding
from claude_relay.proxy.log import plain as plainlog
from claude_relay.proxy.messages import hop_by_hop as targets
from claude_relay.proxy.mitm import shortcuts
from claude_relay.proxy.mitm.first_bytes import host_header
from claude_relay.proxy.mitm.heads import Buffer
from claude_relay.proxy.provider import redaction
from claude_relay.proxy.provider.cover import PackedVeil
from claude_relay.proxy.views import excerpts
from claude_relay.proxy.watch import json_log as jsonlog
from linear import TOO_MUCH, Make, growth, repeated, worst_growth

TRUSTED = ("cli.", "store.", "core.config.", "core.capsules.", "core.clients.limits.", "core.imports.")
"""Modules whose patterns see relay.yaml, the command line, files named there and the relay's own files only."""


def search(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.search(text)


def match(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.match(text)


def fullmatch(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.fullmatch(text)


def every(pattern: re.Pattern[Any], text: Any) -> object:
    """`sub`, `split`, `findall` and `finditer` go through all of a text."""
    return sum(1 for _ in pattern.finditer(text))


def a_line(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.fullmatch(text[:200])


def of_a_name(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.fullmatch(text[:100])


def just_before(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.search(text[-121:])


def near_the_end(pattern: re.Pattern[Any], text: Any) -> object:
    return pattern.search(text[-64:])


USES: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "core.accounting.batches._PLACE": fullmatch,
    "core.accounting.batches._BATCHES": fullmatch,
    "core.accounting.batches._RESULTS_URL": every,
    "core.accounting.passed._TEXTS": every,
    "core.accounting.terms._VALUE": fullmatch,
    "core.accounting.tokens._KIND": fullmatch,
    "core.accounting.usage_reports._DATED": every,
    "core.bodies.deltas.SAID": every,
    "core.clients.credentials.SECRET": every,
    "core.clients.sign_in._EMAIL": fullmatch,
    "core.clients.offers._OF_BYTES": every,
    "core.estimate._OPENING_OF_TEXT": match,
    "core.formats.progress._PING": fullmatch,
    "core.formats.counting._A_PAGE": every,
    "core.formats.gemini.requests._NAME": fullmatch,
    "core.formats.gemini.models._NAME": match,
    **{f"core.formats.gemini.models.FAMILIES.{n}.0": fullmatch for n in range(len(gemini_models.FAMILIES))},
    "core.formats.gemini.patterns._CHARACTER": match,
    "core.formats.gemini.patterns._CLASS": match,
    "core.formats.gemini.patterns._GROUP": match,
    "core.formats.gemini.patterns._LITERAL": match,
    "core.formats.gemini.patterns._PLACE": match,
    "core.formats.gemini.patterns._POSIX": match,
    "core.formats.gemini.patterns._QUANTIFIER": match,
    "core.formats.gemini.answers._PER_DAY": search,
    "core.formats.naming._ODD": every,
    "core.formats.openai.common.NAME": fullmatch,
    "core.formats.openai.chat_memory._DATED": lambda pattern, text: every(pattern, text[:200]),  # of a name that is cut
    "core.formats.openai.chat_memory._GEMINI": fullmatch,
    "core.formats.openai.chat_search._SEARCHES": fullmatch,
    "core.formats.openai.chat_thread._SHORT_ID": fullmatch,
    "core.formats.openai.common._FRAME": every,
    "core.formats.openai.families._DASHED": every,
    "core.formats.openai.families._SEPARATOR": every,
    "core.formats.openai.responses_memory._DATED": every,
    "core.formats.openai.schemas._CONSTRUCTS": every,
    "core.formats.openai.schemas._NESTED_SETS": every,
    "core.formats.errors._SAYS_OVERLOADED": search,
    "core.formats.errors._SAYS_KEY": search,
    "core.formats.errors._SAYS_OVERFLOW": search,
    "core.formats.errors._LIMIT": search,
    "core.formats.errors._NEEDED": search,
    "core.formats.errors._SAYS_WAIT": search,
    "core.formats.errors._RETRY_INFO": search,
    "core.formats.claude.fields._UNFIT": every,
    "core.formats.claude.blocks._UNREADABLE": match,
    "core.formats.error_text._TITLE": search,
    "core.formats.error_text._TITLE_END": search,
    "core.formats.error_text._UNSHOWN": match,
    "core.formats.error_text._UNSHOWN_END.script": search,
    "core.formats.error_text._UNSHOWN_END.style": search,
    "core.formats.error_text._BLANKS": every,
    "core.formats.translation._STRUCTURE": every,
    "core.formats.translation._STRING": every,
    "core.formats.translation._STRAY": every,
    "core.formats.translation._STRAY_END": every,
    "core.formats.translation._SURROGATE": every,
    "core.formats.writer._ID": fullmatch,
    "core.formats.writer._ID_UNFIT": every,
    "core.formats.answer_blocks._MEMBER": match,
    "core.bodies.ratelimits.NUMBER": fullmatch,
    "core.bodies.ratelimits.WINDOW": fullmatch,
    "core.bodies.ratelimits.LENGTH": fullmatch,
    "core.bodies.facts._WORD": fullmatch,
    "core.bodies.facts._OLD_USER_ID": fullmatch,
    "core.bodies.facts._SESSION": fullmatch,
    "core.bodies.facts._BILLING_LINE": match,
    "core.bodies.facts._MARKER": match,
    "core.bodies.facts._BLANKS_AND_COMMA": match,
    "core.bodies.facts._PRODUCT": match,
    "core.bodies.facts._PATH": match,
    "core.bodies.facts._FILLED_LIST": match,
    "core.bodies.facts._OPENING": match,
    "core.bodies.facts._NAME": match,
    "core.bodies.facts._FOLLOWS": match,
    "core.bodies.facts._TOKEN": every,
    "core.bodies.facts._SCALAR": match,
    "core.bodies.legible._TOKEN": every,
    "core.bodies.legible._ODD": search,
    "core.bodies.legible._ESCAPE": every,
    "core.bodies.lenient._ERROR_NAME": fullmatch,
    "core.bodies.prompts._TEXT_BLOCK": match,
    "core.bodies.prompts._TTL": search,
    "core.bodies.resources._ID": fullmatch,
    "core.bodies.resources._FILE": every,
    "core.spans._BLANKS": match,
    **{
        f"core.redacting.shapes.{table}.{literal}": match
        for table in ("KEYS", "ACCOUNTS", "WITHIN")
        for literal in getattr(shapes, table)
    },
    **{
        f"core.redacting.shapes.{name}": match
        for name in ("VALUE", "PARAMETER", "SCHEME", "USERS", "COOKIES", "EMAILS", "TWO_PARTS", "AZURE")
    },
    **{f"core.redacting.shapes.{name}": just_before for name in ("LOCAL", "ALNUM", "FIRST_PART")},
    **{f"core.redacting.shapes.{name}": fullmatch for name in ("NOBODY", "A_WORD", "IN_CODE")},
    "core.redacting.shapes.PACKED": every,
    "core.redacting.shapes.TRIGGER": of_a_name,
    **{
        f"core.redacting.naming_them.{name}": of_a_name
        for name in ("SHOWN", "PARAMETERS", "CREDENTIALS", "IDENTITIES", "ALIAS")
    },
    "core.redacting.naming_them.CAMEL": every,
    **{f"core.redacting.blanks.{name}": fullmatch for name in ("REDACTED", "WORD", "IDENTIFIER")},
    "core.redacting.blanks.PREFIX": match,
    "core.redacting.members.IDS": every,
    "core.redacting.payloads.LINES": every,
    "core.redacting.payloads.DATA": match,
    "core.redacting.payloads.FIELDS": fullmatch,
    "core.redacting.scripted.CLAUDE": fullmatch,
    "core.redacting.scripted.OTHERS": of_a_name,
    "core.spans._FLAT": match,
    "core.spans._INSIDE": match,
    "core.spans._SCALAR": match,
    "core.disturbance._BLANK_LINE": every,
    "core.recordings.recorded.SENT": fullmatch,
    "core.recordings.recorded._API": search,
    "proxy.messages.wire.ALIAS": search,
    "core.bodies.sse._LINE_END": every,
    "core.bodies.sse._BLOCK_END": every,
    "core.bodies.sse._BLANK_LINES": match,
    "core.escapes.BEGUN": search,
    "core.escapes.ESCAPE": every,
    "proxy.views.excerpts._SURROGATES": every,
    "proxy.views.excerpts._HALF_ESCAPE": near_the_end,
    "proxy.views.excerpts._BROKEN_AT": search,
    "proxy.views.excerpts._TURN": every,
    "proxy.views.gemini._UNDERSCORE": every,
    "proxy.views.page._UNSEEN": every,
    "proxy.views.page._PLAIN": a_line,
    "proxy.views.page._PLAIN_BESIDE": a_line,
    "proxy.views.page._NAME": fullmatch,
    "proxy.views.page._BASE64": match,
    "proxy.views.recognition.PATHS.messages": search,
    "proxy.views.recognition.PATHS.messages or their count": search,
    "proxy.views.recognition.PATHS.batch": search,
    "proxy.views.recognition.PATHS.chat": search,
    "proxy.views.recognition.PATHS.responses": search,
    "proxy.views.recognition.PATHS.responses or their count": search,
    "proxy.views.recognition.PATHS.gemini": search,
    "proxy.views.recognition.PATHS.gemini or its count": search,
    "proxy.views.recognition.PATHS.count": search,
    "proxy.views.recognition.PATHS.any": search,
    "core.addresses._NUMBER": every,
    "core.errors.SECRET": every,
    "core.times._PART": every,
    "core.times._WHOLE": fullmatch,
    "core.times._NUMBER": fullmatch,
    "core.times._WORDED": every,
    "core.times._STATED": fullmatch,
    "core.visitors._AUTHORITY": fullmatch,
    "core.visitors._FOR": search,
    "core.visitors._NODE": fullmatch,
    "proxy.flow.settle.PLAIN": fullmatch,
    "proxy.log.folding._NUMBER": every,
    "proxy.log.folding._PLACEHOLDER": every,
    "proxy.watch.json_log.OWN_ID": every,
    "proxy.lifecycle.panel_process.WITHHELD": fullmatch,
    "proxy.lifecycle.panel_process._NAMED": every,
    "core.oauth.grants._BEARER": fullmatch,
    "core.oauth.grants._TOKEN": fullmatch,
    "panel.api.client_models.NAME": fullmatch,
    "panel.api.proxies.MARK": fullmatch,
    "panel.common.relay_yaml._VARIABLE": every,
    "panel.common.said.PLACE": every,
    "panel.security.second_factor._DIGITS": fullmatch,
    "proxy.mitm.outbound._REFUSED": match,
    "proxy.mitm.outbound._NO_HTTP": match,
    "proxy.mitm.outbound._UNREACHED": match,
    "proxy.log.plain.QUOTED": every,
}


def modules() -> Iterator[tuple[str, ModuleType]]:
    for found in pkgutil.walk_packages(claude_relay.__path__, "claude_relay."):
        name = found.name.removeprefix("claude_relay.")
        if not f"{name}.".startswith(TRUSTED):
            yield name, importlib.import_module(found.name)


def patterns(name: str, value: object) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Those that a variable of a module holds, by themselves or in a table."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from patterns(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from patterns(f"{name}.{place}", inner)


def compiled() -> dict[str, re.Pattern[Any]]:
    """All patterns of the package that see bytes of others, by where they are; one that is used in several modules once."""
    found = {
        f"{module}.{where}": pattern
        for module, inside in modules()
        for name, value in vars(inside).items()
        for where, pattern in patterns(name, value)
    }
    known = {id(pattern) for name, pattern in found.items() if name in USES}
    return {name: pattern for name, pattern in found.items() if name in USES or id(pattern) not in known}


PATTERNS = compiled()


def test_every_compiled_pattern_is_in_the_table() -> None:
    assert PATTERNS.keys() - USES.keys() == set()
    assert USES.keys() - PATTERNS.keys() == set()


@pytest.mark.parametrize("name", sorted(USES.keys() & PATTERNS.keys()))
def test_a_pattern_takes_linear_time(name: str) -> None:
    assert worst_growth(PATTERNS[name], USES[name]) < TOO_MUCH


# -- functions

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


def in_pieces(make: Callable[[], Any], size: int = 16) -> Callable[[bytes], object]:
    """A reader that is fed so many bytes at a time, then its end."""

    def feed(data: bytes) -> object:
        reader = make()
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        return reader.end() if hasattr(reader, "end") else None

    return feed


def at_once(make: Callable[[], Any]) -> Callable[[bytes], object]:
    return in_pieces(make, 1 << 30)


def gate(status: int, headers: dict[str, str], *, stream: bool) -> Callable[[], Gate]:
    return lambda: Gate(status, headers, endpoint=Endpoint.MESSAGES, stream=stream)


def meter(headers: dict[str, str]) -> Callable[[], Meter]:
    return lambda: Meter(headers, endpoint=Endpoint.MESSAGES)


def translation(name: str, headers: dict[str, str], *, stream: bool) -> Callable[[], Translation]:
    return lambda: Translation(FORMATS[name], Writer("m", "s", stream=stream), headers, stream=stream)


def facts(data: bytes) -> object:
    return body.read_facts(Endpoint.MESSAGES, {}, data)


def renamed(data: bytes) -> object:
    return refusing(ValueError)(body.rename_model, data, "m")


def refusing(*errors: type[Exception]) -> Callable[..., object]:
    """Calls a function that may refuse what it is given."""

    def call(work: Callable[..., object], *given: Any) -> object:
        try:
            return work(*given)
        except errors as error:
            return error

    return call


def request_of(name: str) -> Callable[[bytes], object]:
    """A request of Claude's, read and written for a provider."""

    def write(data: bytes) -> object:
        try:
            return FORMATS[name].request(Asked(reading.read(data), "m"))
        except Unsuited as error:
            return error

    return write


def judged(data: bytes) -> object:
    from claude_relay.core.exchange import Facts

    return verdicts.judge(
        Outcome(429, {}, data, Failure.GARBAGE, data.decode("latin-1")), Facts(Endpoint.MESSAGES), now=0.0
    )


def header(name: str) -> Callable[[str], object]:
    """What a header of an answer makes of waiting and limits."""

    def read(value: str) -> object:
        told = {name: value, "x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}
        limits.retry_at(told, 0.0)
        limits.limit_of(told, "m", 0.0)
        limits.headroom(told, 0.0)
        return stated_wait(told, b"", "")

    return read


class Tcp:
    """As much of a connection's context as is looked at."""

    class client:
        transport_protocol = "tcp"


def first_bytes(data: bytes) -> object:
    return refusing(NeedsMoreData)(host_header, Tcp, data, b"")


def head(data: bytes) -> object:
    """mitmproxy's reading of a head, as far as its buffer gives it one."""
    buffer = Buffer()
    buffer += data
    try:
        return http1.read_request_head([bytes(line) for line in buffer.maybe_extract_lines() or [b""]])
    except Exception as error:  # too long, or none
        return error


def authority(data: str) -> object:
    return refusing(ValueError)(shortcuts.authority, data, True)


def logged(text: str) -> object:
    """A line of the log that quotes what came."""
    line = plainlog.record("mitmproxy.proxy.server", logging.WARNING, "", 0, "no head: %s", (text,), None)
    return folding.kind_of(line), folding.without_numbers(folding.message_of(line))


def from_here(name: str) -> Callable[[str], object]:
    """Who asks, by what a reverse proxy says."""
    trusted = visitors.networks(("127.0.0.0/8", "::1/128"))
    return lambda said: visitors.comes_from_here("127.0.0.1", [(name, said)], trusted)


def came_round(said: str) -> object:
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    return trail.came_round(client, said), trail.marked((), ("127.0.0.1", 1), trail.heard(client, said))


def cookies(size: int) -> bytes:
    """Many secrets that begin alike."""
    return b"; ".join(b"a=aaaaaaaa%06d" % number for number in range(max(1, size // 18)))


def of_client(data: bytes) -> object:
    """Everything that the client sent is looked for in an answer that repeats it all."""
    secrets = redaction.own_secrets(((b"cookie", data),))
    return Matcher(secrets).clean_end(data.replace(b"=", b" ")), plainlog.learn_of_client(secrets), plainlog.remove()


def json_of(unit: bytes, before: bytes, after: bytes) -> Make:
    """A list of a JSON text: the unit over and over, with a number in it where it has `%d`."""

    def make(size: int) -> bytes:
        count = max(1, (size - len(before) - len(after)) // (len(unit) + 1))
        units = (unit % number for number in range(count)) if b"%d" in unit else (unit for _ in range(count))
        return before + b",".join(units) + after

    return make


def events(unit: bytes, prefix: bytes = b"") -> Make:
    """A stream of the same event, with a number in it where it has `%d`."""

    def make(size: int) -> bytes:
        count = max(1, size // (len(unit) + 8))
        lines = (unit % number if b"%d" in unit else unit for number in range(count))
        return prefix + b"".join(b"data: " + line + b"\n\n" for line in lines)

    return make


def numbered(unit: str, prefix: str = "") -> Make:
    return lambda size: prefix + "".join(unit % number for number in range(max(1, size // len(unit))))


ISSUED = Matcher(((b"sk-ant-api03-" + b"a" * 40 + b"b", b"relay:a/k"), (b"aaaaaaaa", b"y"), (b'quoted"\\secret', b"z")))
MANY = Matcher([(b"aaaaaaaa%06d" % number, b"x") for number in range(100)])
BODY = b'{"model":"m","max_tokens":9,"stream":true,'
CHAT = b'{"choices":[{"index":0,"delta":%b}]}'
BYTES = tuple(
    repeated(unit)
    for unit in (
        b"a",
        b" ",
        b"1",
        b"{",
        b"[",
        b'"',
        b"\\",
        b"<",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x00",
        b"\xff",
        b'{"a":',
        b"[1,",
        b'"a\\"',
    )
)
STRINGS = tuple(
    repeated(unit)
    for unit in ("a", " ", "1", "1.", "1s", "1 ", "-", ",", "=", ";", "%25", "/", "../", ":", "\xe9", "9ms")
)
ESCAPED = (
    *BYTES,
    *map(
        repeated,
        (
            b"%61",
            b"%2561",
            b"\\u0061",
            b"\\\\u0061",
            b"&#97;",
            b"&amp;",
            b"&",
            b"%",
            b"\\u00",
            b"sk-ant-",
            b"YWFhYWFhYWE",
            b"a%",
            b"aaaaaaaa",
        ),
    ),
)
SAID = b'data: {"delta":{"text":"%b"}}\n\n'
SPOKEN = (
    *ESCAPED,
    *(repeated(SAID % said) for said in (b"a", b"", b"sk-ant-", b"\\u0061", b"%61", b" a")),
    repeated(b"data: {}\n\n", SAID % b"sk-ant-api03-"),
    repeated(SAID % b"", SAID % b"sk-ant-api03-"),
    repeated(b'"text":"a', SAID % b"sk-ant-api03-"),
    repeated(b"\r", SAID % b"sk-ant-api03-"),
)
PROBLEMS = (
    *BYTES,
    repeated(b" ", b"<title>"),
    repeated(b"<title>"),
    repeated(b"<title"),
    repeated(b"<script>"),
    repeated(b"<style", b"<"),
    repeated(b"<>"),
    repeated(b"< ", b"<html>"),
    repeated(b" ", b'{"error":{"message":"try again in 1', b'"}}'),
    repeated(b"1", b'{"error":{"message":"try again in ', b'"}}'),
    repeated(b"1", b'{"error":{"code":', b"}}"),
    json_of(b'{"loc":["a"],"msg":"b"}', b'{"detail":[', b"]}"),
    json_of(b'{"reason":"r%d"}', b'{"error":{"details":[', b"]}}"),
)
STREAM_HEADS = (
    *BYTES,
    repeated(b":", b":"),
    repeated(b"data: x\n", b""),
    repeated(b"data: x\r\r", b""),
    repeated(b"data:\r\n\n", b""),
    repeated(b"event: ping\ndata: {}\n\n"),
    repeated(b"\n{\n\n", b"data: {}\n\n"),
    repeated(b"\n{", b"data: {}\n\n"),
    repeated(b"data:", b"data: {}\n\n\n{"),
)
CHAT_STREAMS = (
    *STREAM_HEADS,
    events(b'{"usage":{"a%d":1}}'),
    events(b'{"usage":{"prompt_tokens_details":{"a%d":1}}}'),
    events(CHAT % b'{"content":"a"}'),
    events(CHAT % b'{"content":" "}'),
    events(CHAT % b'{"reasoning_content":"a"}'),
    events(
        CHAT
        % b'{"tool_calls":[{"index":%d,"id":"a%d","function":{"name":"n","arguments":"{}"}}]}'.replace(b"a%d", b"a")
    ),
    events(CHAT % b'{"tool_calls":[{"id":"i%d","function":{"name":"n"}}]}'),
    events(CHAT % b'{"tool_calls":[{"index":0,"id":"i","function":{"name":"n","arguments":"{}"}}]}'),
    events(CHAT % b'{"tool_calls":[{"index":0,"id":"i","function":{"name":"n","arguments":"a}"}}]}'),
    events(CHAT % b'{"tool_calls":[{"index":0,"function":{"name":"n","arguments":"{\\"a\\":{"}}]}'),
    json_of(b'{"index":%d,"function":{"name":"n"}}', b'data: {"choices":[{"delta":{"tool_calls":[', b"]}}]}\n\n"),
    json_of(b'{"id":"i","function":{"name":"n"}}', b'data: {"choices":[{"delta":{"tool_calls":[', b"]}}]}\n\n"),
)
RESPONSES_STREAMS = (
    *STREAM_HEADS,
    events(b'{"type":"response.in_progress","response":{"usage":{"a%d":1}}}'),
    events(b'{"type":"response.output_text.delta","output_index":0,"content_index":%d,"delta":"a"}'),
    events(b'{"type":"response.output_text.delta","item_id":"i%d","delta":"a"}'),
    events(
        b'{"type":"response.output_text.annotation.added","output_index":0,"annotation":{"type":"url_citation","url":"%d"}}',
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"a"}\n\n',
    ),
    events(b'{"type":"response.output_item.added","output_index":%d,"item":{"type":"function_call","name":"n"}}'),
    events(b'{"type":"response.output_item.added","item":{"type":"function_call","id":"i%d","name":"n"}}'),
    events(b'{"type":"response.output_item.done","item":{"type":"function_call","id":"i%d","name":"n"}}'),
    events(b'{"type":"response.output_item.done","output_index":0,"item":{"type":"message","a%d":1}}'),
    events(
        b'{"type":"response.function_call_arguments.delta","output_index":0,"delta":"}"}',
        b'data: {"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"n"}}\n\n',
    ),
    json_of(
        b'{"type":"function_call","id":"i%d","name":"n"}',
        b'data: {"type":"response.output_item.added","item":{"type":"message"}}\n\n'
        b'data: {"type":"response.completed","response":{"output":[',
        b"]}}\n\n",
    ),
)
GEMINI_STREAMS = (
    *STREAM_HEADS,
    events(b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}'),
    events(b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"n","id":"i","args":{"a":%d}}}]}}]}'),
    events(b'{"usageMetadata":{"a%d":1}}'),
    events(b'{"usageMetadata":{"promptTokenCount":{"a%d":1}}}'),
    json_of(b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}', b"[", b"]"),
    json_of(b"{}", b"[", b"]"),
)
ANSWERS = (
    *BYTES,
    repeated(b" ", b'{"choices":[', b"]}"),
    repeated(b"[", b'{"error":'),
    repeated(b"1", b'{"usage":{"input_tokens":', b"}}"),
)
BODIES = (
    *BYTES,
    repeated(b'"model":"m",', b"{", b'"x":1}'),
    repeated(b'"model":{"a":1},', b"{", b'"x":1}'),
    repeated(b'"mod\\u0065l": "m" ,', b"{", b'"x":1}'),
    repeated(b'"cache_control": ', BODY + b'"system":[', b"]}"),
    repeated(b'{"cache_control" :{"type":"ephemeral"},"text":"a"},', BODY + b'"messages":[', b"{}]}"),
    repeated(b" ", b'{"model":', b'"m"}'),
    repeated(b"1", b'{"max_tokens":', b"}"),
    repeated(b"1", b'{"metadata":{"user_id":"user_', b'_session_a"}}'),
    repeated(b"_session_", b'{"metadata":{"user_id":"user_', b'"}}'),
    repeated(b"NaN,", b'{"a":[', b"1]}"),
    repeated(b"\\ud800", b'{"a":"', b'"}'),
    json_of(b'"a%d":1', b"{", b"}"),
    json_of(
        b'{"type":"image","source":{"type":"base64","data":"aaaa"}}',
        BODY + b'"messages":[{"role":"user","content":[',
        b"]}]}",
    ),
    json_of(b'{"role":"user","content":"a"}', BODY + b'"messages":[', b"]}"),
    json_of(b'{"role":"assistant","content":[]}', BODY + b'"messages":[{"role":"user","content":"a"},', b"]}"),
    json_of(
        b'{"role":"assistant","content":[{"type":"tool_use","id":"i%d","name":"n","input":{}}]}',
        BODY + b'"messages":[{"role":"user","content":"a"},',
        b"]}",
    ),
    json_of(
        b'{"type":"tool_use","id":"i%d","name":"n","input":{}}',
        BODY + b'"messages":[{"role":"assistant","content":[',
        b"]}]}",
    ),
    json_of(
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"relay-thoughts-of-another-model"}]}',
        BODY + b'"messages":[',
        b"]}",
    ),
    json_of(
        b'{"name":"n%d","input_schema":{"type":"object"}}',
        BODY + b'"messages":[{"role":"user","content":"a"}],"tools":[',
        b"]}",
    ),
    json_of(
        b'{"name":"n.%d","input_schema":{"type":"object"}}',
        BODY + b'"messages":[{"role":"user","content":"a"}],"tools":[',
        b"]}",
    ),
    json_of(
        b'"a%d":{"type":"string"}',
        BODY
        + b'"messages":[{"role":"user","content":"a"}],"tools":[{"name":"n","input_schema":{"type":"object","properties":{',
        b"}}}]}",
    ),
    *(
        json_of(
            branch,
            BODY
            + b'"messages":[{"role":"user","content":"a"}],"tools":[{"name":"n","input_schema":{"type":"object","anyOf":[',
            b"]}}]}",
        )
        for branch in (
            b'{"properties":{"a%d":{}},"required":["a%d"]}'.replace(b"a%d", b"a"),
            b'{"properties":{"a":{"const":%d}},"required":["a"]}',
            b'{"required":["a%d"]}',
            b'{"$ref":"#/anyOf/%d"}',
            b'{"pattern":"(?!%d)"}',
        )
    ),
    repeated(
        b"(?:a",
        BODY
        + b'"messages":[{"role":"user","content":"a"}],"tools":[{"name":"n","input_schema":{"properties":{"a":{"pattern":"',
        b'"}}}}]}',
    ),
    repeated(
        b"AAAA",
        BODY
        + b'"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"',
        b'"}}]}]}',
    ),
    json_of(b'{"type":"text","text":"a"}', BODY + b'"messages":[{"role":"user","content":"a"}],"system":[', b"]}"),
    json_of(b'"s%d"', BODY + b'"messages":[{"role":"user","content":"a"}],"stop_sequences":[', b"]}"),
    repeated(b"1", BODY + b'"temperature":', b',"messages":[]}'),
    repeated(b"-search-", b'{"max_tokens":9,"messages":[{"role":"user","content":"a"}],"model":"', b'\\n"}'),
)
HEADS = (
    repeated(b"A"),
    repeated(b"A ", b"GET "),
    repeated(b"A", b"GET / HTTP/1.1\r\n"),
    repeated(b" ", b"GET / HTTP/1.1\r\nHost:"),
    repeated(b"\r\nHost:", b"GET / HTTP/1.1"),
    repeated(b"\r\nHost: ", b"GET / HTTP/1.1"),
    repeated(b"\r\n a", b"GET / HTTP/1.1\r\na: b", b"\r\n\r\n"),
    repeated(b"\r\na:b", b"GET / HTTP/1.1", b"\r\n\r\n"),
    repeated(b"\n", b"GET / HTTP/1.1"),
    repeated(b"HTTP/", b"GET"),
)


def redacted(*, texts: bool) -> Callable[[bytes], object]:
    """An export of one body, as a request's and as an answer's."""

    def work(data: bytes) -> object:
        data = data[: len(data) // 8]
        redactor = Redactor(texts=texts)
        exchange = Exchange("POST", "https://a/", (), data, answer=data)
        redactor.learn(exchange)
        return redactor.clean(exchange)

    return work


CASES: dict[str, tuple[Callable[[Any], object], tuple[Make, ...]]] = {
    # heads
    "first bytes": (first_bytes, HEADS),
    "head": (head, HEADS),
    "authority": (authority, (*STRINGS, repeated("a.", "", "b"), repeated(":", "["), repeated("a", "[", "]"))),
    "path": (lambda path: endpoints.classify("/" + path), STRINGS),
    "page": (lambda path: endpoints.own_page("/" + path), STRINGS),
    "model in a report": (canonical, (*STRINGS, repeated("-latest"), repeated("-20260101"))),
    "hop-by-hop": (lambda value: targets.onward(((b"connection", value),)), BYTES),
    "own secrets": (lambda value: redaction.own_secrets(((b"authorization", value), (b"cookie", value))), BYTES),
    "secrets of a client": (of_client, (lambda size: cookies(size // 16),)),
    "redaction": (ISSUED.clean, ESCAPED),
    "redaction, cut off": (lambda data: ISSUED.clean_end(data, same_length=True), ESCAPED),
    "redaction of many": (MANY.clean_end, (*ESCAPED, cookies)),
    "came from": (from_here("x-forwarded-for"), (*STRINGS, repeated("127.0.0.1,"), repeated("[::1]:1,"))),
    "came from, forwarded": (
        from_here("forwarded"),
        (*STRINGS, repeated("for=127.0.0.1,"), repeated(";for = "), repeated("; "), repeated("for ", ";")),
    ),
    "host": (lambda name: (visitors.is_meant(name, "::"), visitors.is_same(name, "a", 443)), STRINGS),
    "origin": (lambda name: visitors.page_behind({"origin": name}), STRINGS),
    "trail": (came_round, (*STRINGS, repeated(trail.TOKEN[:-1]))),
    "families": (families._find.__wrapped__, (*STRINGS, repeated("-gpt-5"), repeated("gpt-5-5-"))),
    "globs": (lambda name: (fits("*a*a*a*b", name), fits("claude-*", name), fits("*", name)), STRINGS),
    "codings": (lambda value: (codings(value), Decoder(value)), (*STRINGS, repeated("gzip,"))),
    "retry-after": (header("retry-after"), STRINGS),
    "retry-after-ms": (header("retry-after-ms"), STRINGS),
    "x-ratelimit-reset-requests": (header("x-ratelimit-reset-requests"), STRINGS),
    "anthropic-ratelimit-requests-reset": (header("anthropic-ratelimit-requests-reset"), STRINGS),
    "anthropic-ratelimit-unified-5h-reset": (header("anthropic-ratelimit-unified-5h-reset"), STRINGS),
    "log": (jsonlog.SECRET.search, STRINGS),
    "log of what came": (logged, (*STRINGS, repeated("b'"), repeated("b'\\"), repeated("bytearray(b"), repeated("%0"))),
    "terminal": (printable.harmless, (*STRINGS, repeated("\x1b[2J"))),
    "terminal, JSON": (printable.harmless_json, (*STRINGS, repeated("\u202e"))),
    # requests
    "facts": (facts, BODIES),
    "rename": (renamed, BODIES),
    "estimate": (
        estimate.estimate_tokens,
        (*BODIES, repeated(b'"data"', b'"base64"'), repeated(b'"data": "', b'"base64"')),
    ),
    "named": (
        lambda data: resources.named("/v1/messages", data),
        (*BODIES, repeated(b'"file_id" : "file_', b""), repeated(b" ", b'"file_id"')),
    ),
    "need of a batch": (needs.need_of_batch, (*BYTES, json_of(b'{"params":{"model":"m%d"}}', b'{"requests":[', b"]}"))),
    "legible": (legible.legible, BODIES),
    "foreign thoughts": (anthropic.without_foreign_thinking, BODIES),
    "thoughts": (anthropic.without_thinking, BODIES),
    "asked of openai-chat": (request_of("openai-chat"), BODIES),
    "asked of openai-responses": (request_of("openai-responses"), BODIES),
    "asked of gemini": (request_of("gemini"), BODIES),
    "count": (lambda data: refusing(Unsuited)(lambda: counting.estimate(reading.read(data))), BODIES),
    "exported": (redacted(texts=False), (*BODIES, *ESCAPED[:4], *SPOKEN[:3])),
    "exported without texts": (redacted(texts=True), BODIES),
    "what looks like a credential": (
        lambda data: shapes.Finder(ISSUED).clean(data[: len(data) // 8]),
        (
            *BYTES,
            *(
                repeated(literal)
                for literal in (
                    *list(shapes.KEYS)[::4],
                    *list(shapes.ACCOUNTS)[::2],
                    *shapes.NAMES[::8],
                    b"://",
                    b"@",
                    b".",
                    b"cookie: ",
                )
            ),
            repeated(b"token="),
            repeated(b"://a@"),
            repeated(b"a@b.c"),
            repeated(b"Bearer "),
            repeated(b"c2stYW50LQ"),
            repeated(b"%25"),
        ),
    ),
    # answers
    "veil, bytes": (in_pieces(lambda: Veil(ISSUED)), ESCAPED),
    "veil": (at_once(lambda: Veil(ISSUED)), ESCAPED),
    "the beginning of a long secret": (
        lambda data: secrets._beginning(data, b"a" * (len(data) // 16)),
        (repeated(b"a"), repeated(b"a", b"", b"ba"), repeated(b"ab", b"", b"a")),
    ),
    "packed veil, bytes": (lambda data: in_pieces(lambda: PackedVeil(ISSUED, "gzip"))(gzip.compress(data)), ESCAPED),
    "spoken veil, bytes": (in_pieces(lambda: SpokenVeil(ISSUED)), SPOKEN),
    "spoken veil": (at_once(lambda: SpokenVeil(ISSUED)), SPOKEN),
    "spoken veil, events": (in_pieces(lambda: SpokenVeil(ISSUED), 1024), SPOKEN),
    "problem": (telling.read_problem, PROBLEMS),
    "verdict": (judged, PROBLEMS),
    "claude's problem": (lambda text: claude_problem(429, "", "", text), STRINGS),
    "stated wait": (
        lambda text: stated_wait({}, text.encode(), text),
        (*STRINGS, repeated("retry "), repeated("1", "retry in "), repeated(" ", '"retryDelay"')),
    ),
    "results url": (
        lambda data: batches.fetched_here(data, "http://a"),
        (*BYTES, repeated(b'"results_url":"'), repeated(b"/v1/messages/batches/a", b'"results_url":"')),
    ),
    "made": (resources.made, BYTES),
    "containers": (resources.containers, (repeated(b" ", b'{"container"'), repeated(b"[", b'{"container":'))),
    "sse, bytes": (in_pieces(SseParser), STREAM_HEADS),
    "sse": (at_once(SseParser), STREAM_HEADS),
    "lenient": (lenient.parse_object, ANSWERS),
    "sniff": (lambda data: sniff.sniff(data, {}), BYTES),
    "gate of a stream, bytes": (in_pieces(gate(200, SSE, stream=True)), STREAM_HEADS),
    "gate of an answer, bytes": (in_pieces(gate(200, JSON, stream=False)), ANSWERS),
    "gate of an answer": (at_once(gate(200, JSON, stream=False)), ANSWERS),
    "gate of an error, bytes": (in_pieces(gate(500, JSON, stream=False)), ANSWERS),
    "meter of a stream, bytes": (in_pieces(meter(SSE)), STREAM_HEADS),
    "meter of an answer, bytes": (in_pieces(meter(JSON)), ANSWERS),
    "meter of a batch, bytes": (in_pieces(lambda: batches.BatchMeter({})), (*BYTES, repeated(b'{"result":{}}\n'))),
    "passed": (lambda data: passed.Passed().event(data), BYTES),
    "model back, bytes": (in_pieces(lambda: anthropic.ModelBack("m", stream=True)), STREAM_HEADS),
    "model back": (at_once(lambda: anthropic.ModelBack("m", stream=False)), ANSWERS),
    "openai-chat, bytes": (in_pieces(translation("openai-chat", SSE, stream=True)), CHAT_STREAMS),
    "openai-chat": (at_once(translation("openai-chat", SSE, stream=True)), CHAT_STREAMS),
    "openai-chat, whole": (at_once(translation("openai-chat", SSE, stream=False)), CHAT_STREAMS),
    "openai-chat, JSON": (at_once(translation("openai-chat", JSON, stream=False)), ANSWERS),
    "openai-responses": (at_once(translation("openai-responses", SSE, stream=True)), RESPONSES_STREAMS),
    "openai-responses, whole": (at_once(translation("openai-responses", SSE, stream=False)), RESPONSES_STREAMS),
    "gemini": (at_once(translation("gemini", {}, stream=True)), GEMINI_STREAMS),
    "gemini, bytes": (in_pieces(translation("gemini", {}, stream=True)), GEMINI_STREAMS),
    "gemini, whole": (at_once(translation("gemini", SSE, stream=False)), GEMINI_STREAMS),
    "json that is cut off": (excerpts.read_json, ANSWERS),
    "an object with a list": (lambda data: excerpts.listed(data, "messages"), ANSWERS),
    "excerpts of a stream": (excerpts.read_stream, STREAM_HEADS),
    "arguments": (arguments_of, (*STRINGS, repeated("{}"), repeated("{"))),
}


@pytest.mark.parametrize(
    ("work", "make"),
    [
        pytest.param(work, make, id=f"{name} {n}")
        for name, (work, makes) in CASES.items()
        for n, make in enumerate(makes)
    ],
)
def test_a_function_takes_linear_time(work: Callable[[Any], object], make: Make) -> None:
    assert growth(work, make) < TOO_MUCH
