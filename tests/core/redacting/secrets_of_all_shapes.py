"""Secrets as vendors give them out, and the forms and places in which they turn up."""

from __future__ import annotations

import json
import string
from base64 import b64encode, urlsafe_b64encode
from itertools import pairwise
from urllib.parse import quote

from hypothesis import strategies as st

from claude_relay.core.redacting.redactor import Exchange
from claude_relay.core.secrets import Matcher

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def made(prefix: str, size: int, alphabet: str = ALNUM, suffix: str = "") -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=size).map(lambda text: prefix + text + suffix)


def packed(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


UNMISTAKABLE = st.one_of(
    made("sk-ant-api03-", 93, ALNUM + "-_", "AA"),
    made("sk-ant-oat01-", 40, ALNUM + "-_"),
    made("sk-ant-admin01-", 40, ALNUM + "-_"),
    made("sk-proj-", 48, ALNUM + "-_"),
    made("sk-", 48),
    made("sk-or-v1-", 64, HEX),
    made("sk-", 32, HEX),
    made("rk-", 32),
    made("AIza", 35, ALNUM + "-_"),
    made("ya29.", 60, ALNUM + "-_"),
    made("gsk_", 52),
    made("xai-", 80),
    made("pplx-", 48),
    made("nvapi-", 64, ALNUM + "-_"),
    made("csk-", 48),
    made("hf_", 34),
    made("ghp_", 36),
    made("github_pat_", 60, ALNUM + "_"),
    made("xoxb-", 40, ALNUM + "-"),
    made("AKIA", 16, string.ascii_uppercase + string.digits),
    st.tuples(made("", 32, HEX), made("", 16)).map(".".join),
    made("", 30).map(
        lambda text: f"{packed(json.dumps({'alg': 'HS256'}))}.{packed(json.dumps({'sub': text}))}.{packed(text)}"
    ),
)
"""What is known by its shape, wherever it stands."""
OPAQUE = made("", 24, ALNUM + "+-_")
"""What only its place gives away."""
ANY = st.one_of(UNMISTAKABLE, OPAQUE)

FORMS = {
    "plain": lambda secret: secret,
    "percent": lambda secret: "".join(f"%{ord(c):02X}" for c in secret),
    "url": lambda secret: quote(secret, safe=""),
    "unicode": lambda secret: "".join(f"\\u{ord(c):04x}" for c in secret),
    "html": lambda secret: "".join(f"&#{ord(c)};" for c in secret),
    "base64": lambda secret: b64encode(secret.encode()).decode(),
    "base64 within": lambda secret: b64encode(f"id={secret}\n".encode()).decode(),
    "base64, shifted": lambda secret: b64encode(f"x{secret}".encode()).decode(),
    "base64, shifted twice": lambda secret: urlsafe_b64encode(f"xy{secret}".encode()).decode(),
    "json": lambda secret: json.dumps({"a": json.dumps({"b": secret})}),
    "basic": lambda secret: "Basic " + b64encode(f"me:{secret}".encode()).decode(),
    "bearer": lambda secret: f"Bearer {secret}",
    "in a URL": lambda secret: f"https://me:{quote(secret, safe='')}@host.test/a?b=c",
    "in a query": lambda secret: f"https://host.test/a?b=c&api_key={quote(secret, safe='')}#d",
    "in a word": lambda secret: f"({secret})",
    "in a path": lambda secret: "/token/" + b64encode(secret.encode()).decode(),
}
"""How it is written."""


def survives(secret: str, shown: bytes) -> bool:
    """Whether it can be read in what is shown, in whatever form."""
    return secret.encode() in shown or next(Matcher(((secret.encode(), b"x"),)).found(shown), None) is not None


def said(stream: bytes) -> bytes:
    """What a stream of events says in all."""
    texts = []
    for line in stream.split(b"\n"):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            delta = event.get("delta", {})
            choice = (event.get("choices") or [{}])[0].get("delta", {}) if "choices" in event else {}
            texts.append(
                delta.get("text") or delta.get("partial_json") or delta.get("thinking") or choice.get("content") or ""
                if isinstance(delta, dict)
                else delta
            )
    return "".join(texts).encode()


def split(secret: str, cuts: list[int]) -> list[str]:
    """In pieces."""
    places = sorted({0, len(secret), *(cut % (len(secret) + 1) for cut in cuts)})
    return [secret[a:b] for a, b in pairwise(places)]


def stream_of(pieces: list[str], kind: str) -> bytes:
    """A stream that says it in several events."""
    if kind == "chat":
        events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ["so ", *pieces, " it is"]]
        return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    if kind == "responses":
        events = [
            {"type": "response.output_text.delta", "output_index": 0, "delta": piece}
            for piece in ["so ", *pieces, " it is"]
        ]
        return b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)
    name, member = {
        "text": ("text_delta", "text"),
        "json": ("input_json_delta", "partial_json"),
        "thinking": ("thinking_delta", "thinking"),
    }[kind]
    events = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": name, member: piece}}
        for piece in ["so ", *pieces, " it is"]
    ]
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    return ping.join(b"event: content_block_delta\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)


JSON = (b"content-type", b"application/json")


def body(value: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": value}]}).encode()


PLACES = {
    "header": lambda s: Exchange("POST", "https://a.test/v1/messages", ((b"x-mine", s.encode()), JSON), b"{}"),
    "x-api-key": lambda s: Exchange(
        "POST", "https://a.test/", ((b"X-Api-Key", s.encode()),), body(f"again {s}!"), status=401, answer=s.encode()
    ),
    "bearer": lambda s: Exchange(
        "POST", "https://a.test/", ((b"authorization", b"Bearer " + s.encode()),), status=401, answer=body(f"no {s}.")
    ),
    "basic": lambda s: Exchange(
        "POST",
        "https://a.test/",
        ((b"proxy-authorization", b"Basic " + b64encode(b"me:" + s.encode())),),
        status=401,
        answer=body(s),
    ),
    "cookie": lambda s: Exchange(
        "GET", "https://a.test/", ((b"cookie", b"a=b; sid=" + s.encode() + b"; c"),), body(f"my {s}")
    ),
    "set-cookie": lambda s: Exchange(
        "GET",
        "https://a.test/",
        status=200,
        answer_fields=((b"Set-Cookie", b"sid=" + s.encode() + b"; Path=/"),),
        answer=body(s),
    ),
    "query": lambda s: Exchange("GET", f"https://a.test/v1/x?beta=true&key={quote(s, safe='')}", (), body(f"the {s}")),
    "user": lambda s: Exchange("GET", f"https://me:{quote(s, safe='')}@a.test/v1/x", (), body(f"the {s}")),
    "member": lambda s: Exchange(
        "POST", "https://a.test/", (JSON,), json.dumps({"mcp_servers": [{"authorization_token": s}]}).encode()
    ),
    "camel": lambda s: Exchange(
        "POST", "https://a.test/", (JSON,), json.dumps({"input": {"a": [{"clientSecret": s}]}}).encode()
    ),
    "user_id": lambda s: Exchange(
        "POST",
        "https://a.test/",
        (JSON,),
        json.dumps({"metadata": {"user_id": json.dumps({"account_uuid": s})}, "system": f"is {s}?"}).encode(),
    ),
    "answer's header": lambda s: Exchange(
        "POST", "https://a.test/", status=200, answer_fields=((b"anthropic-organization-id", s.encode()),)
    ),
}
"""Where even one of no known shape is found."""
