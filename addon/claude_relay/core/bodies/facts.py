"""What routing needs to know of a request's body, without building the rest of it.

    >>> read_facts(Endpoint.MESSAGES, {}, b'{"model": "claude-opus-4-6", "messages": [], "stream": true}')
    Facts(endpoint=<Endpoint.MESSAGES: 'messages'>, model='claude-opus-4-6', stream=True, ...)
    >>> rename_model(b'{"messages": [], "model" : "claude-opus-4-6"}', "glm-4.6")
    b'{"messages": [], "model" : "glm-4.6"}'

The JSON is checked and skipped, never turned into objects: fields are kept raw, and only the few small ones are
decoded. A native body is never written anew; `rename_model` exchanges the bytes of one value. Knows nothing of
providers, and no reason to refuse a request: what is mistyped stays empty, and the upstream says what is wrong with it. What is not
quite JSON is read by the rules of `legible`, here and by all other readers of requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b

import msgspec
from msgspec import Raw

from claude_relay.core import spans
from claude_relay.core.exchange import NOTHING, Endpoint, Facts

from .legible import read_leniently, utf8, written_as
from .lenient import BAD_JSON

AGENT = "x-claude-code-agent-id"
SUBAGENT_HEADERS = (AGENT, "x-claude-code-parent-agent-id")
"""What Claude Code adds to the requests of its sub-agents, from 2.1.139. https://code.claude.com/docs/en/llm-gateway"""
CLASS_HEADER = "x-claude-code-request-class"
"""What a request is for: main, subagent, workflow, compaction, auxiliary. Claude Code from 2.1.273 if CLAUDE_CODE_GATEWAY_HINT_HEADERS=1"""
SAID_SUBAGENT = "x-relay-subagent"
"""A client's own word to the relay: `true` or `false`. It counts for more than anything else."""
BACKGROUND_MODEL = "haiku"

LONG_CONTEXT = "context-1m"
"""How the beta of the long context is named. https://docs.claude.com/en/docs/build-with-claude/context-windows"""
STANDARD_SPEED, USUAL_TIER = "standard", "auto"
"""What a request asks for that says nothing. https://docs.claude.com/en/docs/build-with-claude/fast-mode,
https://docs.claude.com/en/api/service-tiers"""
_WORD = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)

SESSION_HEADERS = ("x-relay-session", "x-claude-code-session-id")
"""The session as a client says it to the relay, and as Claude Code says it."""

# Other endpoints have no model in the body, and may carry uploads of many megabytes.
_WITH_BODY = frozenset({Endpoint.MESSAGES, Endpoint.COUNT_TOKENS, Endpoint.COMPLETE})
_THINKING = frozenset({"enabled", "adaptive"})
_ABSENT = Raw(b"null")
_STREAM = frozenset({b"true", b"false", b"null"})
_STREAM_NAME = b'"stream"'
_LONGEST_COUNT = 10
"""Digits from which on a number of tokens is not believed."""
_BOTH = Raw(b'"both"')
"""Of several members called "stream" that differ; whichever follows."""

# Claude Code 1.x and early 2.x: user_<hash>_account_<id>_session_<uuid>
_OLD_USER_ID = re.compile(r"user_.*_session_([^_]+)")
_SESSION = re.compile(r"[\x21-\x7e]{1,128}")

PREFIX_LEAST = 2_048
"""Bytes that a prompt must begin with to be known again. A provider caches nothing shorter than 1,024 tokens, so that many who send the
same small request need not share a key. https://docs.claude.com/en/docs/build-with-claude/prompt-caching"""
_HEAD, _TAIL = 16_384, 4_096
"""Of each part; what several conversations share stands at its head."""
_BILLING_WITHIN = 256
_BILLING = b'"x-anthropic-billing-header:'
_BILLING_LINE = re.compile(rb'"(?:[^"\\]|\\[^n])*+')
_MARKER_NAME = b'"cache_control"'
_MARKER = re.compile(rb'"cache_control"[ \t\r\n]*:[ \t\r\n]*\{[^{}]*\}')
_BLANKS_AND_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")

_SUBAGENT_LINE = b"cc_is_subagent=true"
_PRODUCT = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)

PROJECT_HEADER = "x-relay-project"
_DIRECTORY = b"orking directory: "
_PATH = re.compile(rb'(?:[/~]|[A-Za-z]:)(?:[^\\"]|\\[^n])*+')

_FILLED_LIST = re.compile(rb"\[[ \t\r\n]*[^] \t\r\n]")
_OPENING = re.compile(rb"[ \t\r\n]*\{")
_NAME = re.compile(rb'[ \t\r\n,]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_FOLLOWS = re.compile(rb"[ \t\r\n]*[,}]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[][{}]', re.DOTALL)
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^][{}," \t\r\n]+', re.DOTALL)


class _Fields(msgspec.Struct):
    model: Raw = _ABSENT
    stream: Raw = _ABSENT
    tools: Raw = _ABSENT
    thinking: Raw = _ABSENT
    metadata: Raw = _ABSENT
    system: Raw = _ABSENT
    container: Raw = _ABSENT
    speed: Raw = _ABSENT
    service_tier: Raw = _ABSENT
    tags: Raw = _ABSENT
    max_tokens: Raw = _ABSENT
    max_tokens_to_sample: Raw = _ABSENT


class _Listed(_Fields):
    listed: Raw = msgspec.field(default=_ABSENT, name="messages")


class _Body(_Fields):
    messages: list[Raw] = []
    listed: Raw = msgspec.field(default=_ABSENT, name="")


class _Thinking(msgspec.Struct):
    type: Raw = _ABSENT


class _Metadata(msgspec.Struct):
    user_id: Raw = _ABSENT


class _UserId(msgspec.Struct):
    session_id: Raw = _ABSENT


class _Container(msgspec.Struct):
    id: Raw = _ABSENT


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_fields = msgspec.json.Decoder(_Listed).decode
_decode_thinking = msgspec.json.Decoder(_Thinking).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_user_id = msgspec.json.Decoder(_UserId).decode
_decode_container = msgspec.json.Decoder(_Container).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def read_facts(
    endpoint: Endpoint, headers: Mapping[str, str], body: bytes, *, leniently: bool = True, client: str = ""
) -> Facts:
    """The facts of a request of `client`. `headers` in lower case, `body` uncompressed; never raises.

    Costs 1 to 3 ms a megabyte, and up to 50 where something has to be mended, which is not done but `leniently`: a caller that must
    not stop for so long reads large bodies elsewhere.
    """
    body = utf8(body) if endpoint in _WITH_BODY else b""
    session = session_of(headers)
    read = _fields(body, messages=session is None and endpoint is Endpoint.MESSAGES, leniently=leniently)
    fields = read or _Body()
    session = session or _session_of_user(fields.metadata)
    model = _text(fields.model)
    tools = _is_filled_list(fields.tools)
    return Facts(
        endpoint=endpoint,
        model=model,
        stream=bytes(fields.stream) == b"true",
        stream_unknown=endpoint in _WITH_BODY and (read is None or bytes(fields.stream) not in _STREAM),
        unread=endpoint in _WITH_BODY and read is None,
        tools=tools,
        thinking=fields.thinking is not _ABSENT and _thinks(fields.thinking),
        session=session,
        headers=headers,
        prefix=_prefix(model, fields) if session is None else None,
        client=client,
        program=_program(headers.get("user-agent", "")),
        background=_is_background(headers, model, tools=tools),
        subagent=_is_subagent(headers, bytes(fields.system)),
        project=_session(headers.get(PROJECT_HEADER, "")) or _project(bytes(fields.system)),
        container="" if fields.container is _ABSENT else _container(fields.container),
        speed=_other_than(STANDARD_SPEED, fields.speed),
        tier=_other_than(USUAL_TIER, fields.service_tier),
        long=LONG_CONTEXT in headers.get("anthropic-beta", ""),
        tagged=fields.tags is not _ABSENT,
        most=_count(fields.max_tokens if fields.max_tokens is not _ABSENT else fields.max_tokens_to_sample),
        body=body,
        messages=NOTHING if fields.listed is _ABSENT else memoryview(fields.listed),
    )


def as_message(facts: Facts, model: str) -> Facts:
    """The plain message that the client of another request would send for a model: without tools, thinking or a stream."""
    background = _is_background(facts.headers, model, tools=False)
    return replace(facts, endpoint=Endpoint.MESSAGES, model=model, background=background)


def _project(system: bytes) -> str | None:
    """The last part of the working directory that Claude Code tells its model of."""
    place = system.find(_DIRECTORY)
    found = _PATH.match(system, place + len(_DIRECTORY)) if place >= 0 else None
    if found is None:
        return None
    path = _text(Raw(b'"' + found[0] + b'"')).replace("\\", "/").rstrip("/")
    name = "".join(character for character in path.rpartition("/")[2] if character.isprintable())
    return name[:128] or None


def rename_model(body: bytes, model: str) -> bytes:
    """The body with another model; every other byte stays as it is.

    All top-level members called "model" change, in whatever way their name is written, so it does not matter which one the reader takes.
    Raises ValueError when the body is no JSON object or has no such member.
    """
    plain = utf8(body)
    try:
        places = [(start, end) for name, start, end in members(plain) if name == "model"]
    except BAD_JSON:
        raise ValueError("the body is not a JSON object") from None
    if not places:
        raise ValueError("the body names no model")
    pieces: list[bytes] = []
    done = 0
    for start, end in places:
        pieces += [*spans.slices(plain, done, start), json.dumps(model).encode()]
        done = end
    return written_as(body, b"".join([*pieces, *spans.slices(plain, done, len(plain))]))


def named_model(body: bytes) -> str:
    """The model that a body in UTF-8 names; empty when it names none, or one that is no proper text. Raises one of BAD_JSON."""
    places = [(start, end) for name, start, end in members(body) if name == "model"]
    return _text(Raw(body[slice(*places[-1])])) if places else ""


def _fields(body: bytes, *, messages: bool, leniently: bool) -> _Body | None:
    """`messages`: whether the messages are wanted too, which costs more the more there are. None: the body is no JSON object."""
    if len(body) > spans.HUGE and (huge := _fields_in_steps(body, messages=messages)) is not None:
        return huge
    for decode in (_decode_body, _decode_fields) if messages else (_decode_fields,):  # the messages may be no list
        try:
            text, fields = read_leniently(decode, body) if leniently else (body, decode(body))
        except BAD_JSON:
            continue
        found = fields if isinstance(fields, _Body) else _Body(**msgspec.structs.asdict(fields))
        if text is not body:
            found.model = Raw(json.dumps(named_model(body)).encode())
        return found
    return None


def stream_is_ambiguous(body: bytes) -> bool:
    """Whether a body, in UTF-8, has several members called "stream" that differ: an upstream may take any of them.

    For who sees an answer of the other kind than `Facts.stream` says: looking for them in every body costs 0.5 ms a megabyte. Of huge ones
    `read_facts` knows already.
    """
    if len(body) > spans.HUGE or body.count(_STREAM_NAME) < 2:
        return False
    try:
        said = {body[start:end] == b"true" for name, start, end in members(body) if name == "stream"}
    except ValueError:
        return False
    return len(said) > 1


def _fields_in_steps(body: bytes, *, messages: bool) -> _Body | None:
    """The same of a large body. None: it is no JSON object without leniency, as far as was looked."""
    found = _Body()
    try:
        for name, start, end in spans.members(body):
            if name == "messages":
                first = spans.first_element(body, start, end) if messages else None
                # As it is: a Raw would be copied once more, in one go, by whoever wants its bytes.
                found.messages = [b"".join(spans.slices(body, *first))] if first else []  # type: ignore[list-item]
            elif name in _Fields.__struct_fields__:
                value = Raw(b"".join(spans.slices(body, start, end)))
                if name == "stream" and found.stream is not _ABSENT and _differ(found.stream, value):
                    value = _BOTH
                setattr(found, name, value)
    except ValueError:
        return None
    return found


def _differ(one: Raw, other: Raw) -> bool:
    return one is _BOTH or (bytes(one) == b"true") is not (bytes(other) == b"true")


def _text(value: Raw) -> str:
    try:
        return _decode_text(value)
    except BAD_JSON:
        return ""


def _other_than(usual: str, value: Raw) -> str:
    """The word, in small letters; empty when it is the usual one or none at all."""
    word = "" if value is _ABSENT else _text(value).lower()
    return "" if word == usual or not _WORD.fullmatch(word) else word


def _container(value: Raw) -> str:
    """The container's id, which clients send alone or with its skills."""
    try:
        return _text(_decode_container(value).id)
    except BAD_JSON:
        return _text(value)


def _count(value: Raw) -> int | None:
    """A whole number that is no nonsense; None: it is none."""
    text = bytes(value)
    return int(text) if len(text) < _LONGEST_COUNT and text.isdigit() else None


def _is_filled_list(value: Raw) -> bool:
    return _FILLED_LIST.match(value) is not None


def _thinks(value: Raw) -> bool:
    try:
        return _text(_decode_thinking(value).type) in _THINKING
    except BAD_JSON:
        return False


def session_of(headers: Mapping[str, str]) -> str | None:
    """The session as the header fields say it; names in lower case."""
    return next((found for name in SESSION_HEADERS if (found := _session(headers.get(name, "")))), None)


def _session_of_user(metadata: Raw) -> str | None:
    """The session in `metadata.user_id`: Claude Code writes a JSON text there, older versions three names joined by underscores."""
    try:
        user_id = _text(_decode_metadata(metadata).user_id)
        if user_id.startswith("{"):
            return _session(_text(_decode_user_id(user_id).session_id))
    except BAD_JSON:
        return None
    old = _OLD_USER_ID.fullmatch(user_id)
    return _session(old[1]) if old else None


def _session(name: str) -> str | None:
    """The name if it can serve as one: short, printable, ASCII."""
    return name if _SESSION.fullmatch(name) else None


def _program(user_agent: str) -> str:
    """The first product of a user agent without its version: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.5"""
    product = _PRODUCT.match(user_agent.strip())
    return product[0] if product else ""


def _is_background(headers: Mapping[str, str], model: str, *, tools: bool) -> bool:
    """What the client says; else a small model without tools, as Claude Code asks for titles and summaries."""
    said = headers.get(CLASS_HEADER, "").strip().lower()
    return said == "auxiliary" if said else BACKGROUND_MODEL in model.lower() and not tools


def _is_subagent(headers: Mapping[str, str], system: bytes) -> bool:
    if own := headers.get(SAID_SUBAGENT, "").strip().lower():
        return own == "true"
    if said := headers.get(CLASS_HEADER, "").strip().lower():
        return said in ("subagent", "workflow")
    return any(headers.get(name, "").strip() for name in SUBAGENT_HEADERS) or _SUBAGENT_LINE in _billing(system)


def _billing(system: bytes) -> bytes:
    """The line that Claude Code begins its system prompt with, or nothing."""
    start = system.find(_BILLING, 0, _BILLING_WITHIN)
    line = _BILLING_LINE.match(system, start) if start >= 0 else None
    return line[0] if line else b""


def _prefix(model: str, fields: _Body) -> str | None:
    """What the turns of a conversation have in common, hashed: model, tools, system prompt and first message.

    None when that is too short to be cached. The blank in it keeps it apart from sessions, which have none.
    """
    if not fields.messages:
        return None
    raw = bytes(fields.tools), without_billing(bytes(fields.system)), bytes(fields.messages[0])
    parts = [without_markers(part) for part in raw]
    if sum(map(len, parts)) < PREFIX_LEAST:
        return None
    found = blake2b(model.encode(), digest_size=16)
    for part in parts:
        found.update(b"|%d|" % len(part))
        found.update(part if len(part) <= _HEAD + _TAIL else part[:_HEAD] + part[-_TAIL:])
    return f"prefix {found.hexdigest()}"


def without_billing(system: bytes) -> bytes:
    """Without the line that Claude Code begins with, which is another one in each request."""
    return system.replace(_billing(system), b"", 1)


def without_markers(part: bytes) -> bytes:
    """Without `cache_control`, which clients move along with the conversation. The same object where there is none."""
    return split_markers(part)[0]


def split_markers(part: bytes) -> tuple[bytes, list[bytes]]:
    """What stands beside each `cache_control`, and each of these with its value."""
    pieces: list[bytes] = []
    found: list[bytes] = []
    done, start = 0, spans.find(part, _MARKER_NAME)
    while start >= 0:
        end = start + len(_MARKER_NAME)
        if marker := _MARKER.match(part, start):
            before, end = part[done:start].rstrip(b" \t\r\n"), marker.end()
            comma = None if before.endswith(b",") else _BLANKS_AND_COMMA.match(part, end)
            pieces.append(before.removesuffix(b","))
            found.append(marker[0])
            done = end = comma.end() if comma else end
        start = spans.find(part, _MARKER_NAME, end)
    return (b"".join([*pieces, *spans.slices(part, done, len(part))]) if pieces else part), found


def members(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of the value of each top-level member, in order and with duplicates; `body` in UTF-8. Raises one of BAD_JSON."""
    if len(body) > spans.HUGE:
        try:
            found = list(spans.members(body))
        except ValueError:  # to be read with leniency, or not at all
            pass
        else:
            yield from found
            return
    text, values = read_leniently(_decode_members, body)
    opening = _OPENING.match(text)
    position = opening.end() if opening else 0
    while name := _NAME.match(text, position):
        called = _decode_text(name[1])
        position = _end_of_value(text, name.end(), bytes(values[called]))
        yield called, name.end(), position


def _end_of_value(body: bytes, start: int, expected: bytes) -> int:
    """Where the value at `start` ends. The decoder has told its bytes, unless a later member of the same name took their place."""
    end = start + len(expected)
    if body.startswith(expected, start) and _FOLLOWS.match(body, end):
        return end
    if scalar := _SCALAR.match(body, start):
        return scalar.end()
    depth = 0
    for token in _TOKEN.finditer(body, start):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
        if depth == 0:
            break
    return token.end()
