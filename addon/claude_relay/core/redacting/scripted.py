"""Requests as a shell script that sends them with curl. The credential is a variable, and nothing in a request is the shell's to expand.

    script([exchange, …])       bytes; runs with `sh FILE`, one request, or with `sh FILE 2` the second of them

For Claude's own API the variable is ANTHROPIC_API_KEY, for others' API_KEY: no key goes where it does not belong. With ANTHROPIC_BASE_URL
requests to Claude's API go there, such as to a relay.
"""

from __future__ import annotations

import re
import shlex
from base64 import encodebytes
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from .redactor import Exchange

HEAD: Final = """\
#!/bin/sh
# Written by Claude Relay. It sends {what} with curl:
#   ANTHROPIC_API_KEY=… sh {name}{which}
# ANTHROPIC_BASE_URL=http://127.0.0.1:8082 sends what is for Claude's API there. Other APIs take API_KEY.
set -eu

"""
FOOT: Final = """
n=${1:-1}
case $n in
  *[!0-9]*|'') echo "which request? a number from 1 to %(last)d" >&2; exit 2 ;;
esac
if [ "$n" -lt 1 ] || [ "$n" -gt %(last)d ]; then echo "which request? a number from 1 to %(last)d" >&2; exit 2; fi
"request_$n"
"""
CLAUDE: Final = re.compile(
    r"/v1/(?:messages|complete|models|files|organizations|skills|sessions|agents)(?:[/?].*)?|/v1/messages.*"
)
OTHERS: Final = re.compile(
    r"(?:.*\.)?(?:openai\.(?:com|azure\.com)|googleapis\.com|x\.ai|deepseek\.com|groq\.com|mistral\.ai|openrouter\.ai)"
)
LEFT_OUT: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"accept-encoding",
        b"content-encoding",
        b"expect",
        b"te",
        b"upgrade",
        b"keep-alive",
        b"trailer",
        b"proxy-connection",
        b"x-relay-target",
        b"x-relay-origin",
        b"x-relay-key",
        b"x-relay-provider",
    }
)
CREDENTIALS: Final = {
    b"x-api-key": "x-api-key: ",
    b"authorization": "authorization: Bearer ",
    b"api-key": "api-key: ",
    b"x-goog-api-key": "x-goog-api-key: ",
}
"""Header fields that a credential goes into, and what stands before it."""
MARK: Final = b"redacted"


def script(exchanges: Iterable[Exchange], name: str = "FILE") -> bytes:
    """`name`: the script's own, for its first lines."""
    found = list(exchanges)
    what = "a request" if len(found) == 1 else f"one of {len(found)} requests"
    which = "" if len(found) == 1 else " NUMBER"
    head = HEAD.format(what=what, name=shlex.quote(name), which=which)
    bodies = [b"".join(_function(number, exchange)) for number, exchange in enumerate(found, 1)]
    return head.encode() + b"\n".join(bodies) + (FOOT % {"last": len(found)}).encode()


def _function(number: int, exchange: Exchange) -> Iterator[bytes]:
    claude, variable = _is_claude(exchange.url), "ANTHROPIC_API_KEY"
    if not claude:
        variable = "API_KEY"
    parts = urlsplit(exchange.url)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if value != MARK.decode()]
    if query:
        path += "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    note = " ".join(f"{exchange.method} {exchange.url} {exchange.note}".split())
    yield f"request_{number}() {{\n  # {note[:300]}\n".encode("utf-8", "replace")
    yield f'  : "${{{variable}:?set {variable} to the key that is to be used}}"\n'.encode()
    if claude:
        yield f"  base=${{ANTHROPIC_BASE_URL:-{_quoted(base)}}}\n".encode()
    else:
        yield f"  base={_quoted(base)}\n".encode()
    body = exchange.body
    if body:
        yield from _body(body)
    yield f"  curl --silent --show-error --no-buffer --request {_quoted(exchange.method)} \\\n".encode()
    credential = _credential(exchange)
    yield f'    --header "{credential}${variable}" \\\n'.encode()
    for name, value in exchange.fields:
        lower = name.lower()
        if (
            lower in LEFT_OUT
            or lower in CREDENTIALS
            or lower in (b"cookie", b"proxy-authorization")
            or value.startswith(MARK)
        ):
            continue
        line = (name + b": " + value).decode("utf-8", "replace")
        yield f"    --header {_quoted(line)} \\\n".encode()
    if body:
        yield b"    --data-binary @- \\\n"
    yield f'    --url "$base"{_quoted(path)}\n}}\n'.encode()


def _body(body: bytes) -> Iterator[bytes]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield b"  base64 -d <<'END_OF_BODY' |\n" + encodebytes(body) + b"END_OF_BODY\n"
    else:
        yield f"  printf %s {_quoted(text)} |\n".encode()


def _credential(exchange: Exchange) -> str:
    """Where the request had one."""
    for name, _ in exchange.fields:
        if (before := CREDENTIALS.get(name.lower())) is not None:
            return before
    host = urlsplit(exchange.url).hostname or ""
    if host.endswith("googleapis.com"):
        return CREDENTIALS[b"x-goog-api-key"]
    return CREDENTIALS[b"x-api-key" if _is_claude(exchange.url) else b"authorization"]


def _is_claude(url: str) -> bool:
    parts = urlsplit(url)
    return CLAUDE.fullmatch(parts.path) is not None and not OTHERS.fullmatch(parts.hostname or "")


def _quoted(text: str) -> str:
    """For a shell: all of it as it is, whatever it is."""
    return "'" + text.replace("'", "'\\''") + "'"
