"""A head that never becomes a request: what the client sent as its credential is in no flow, no file and no line of the log."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from pathlib import Path

import pytest

from waiting import PATIENCE

from .clients import H2Client, RawClient
from .conftest import StartRelay
from .relay import Relay

KEY, TOKEN, PASSWORD = "sk-ant-api03-HEADSECRET-xyz", "TOKENSECRET-of-the-client", "dXNlcjpQUk9YWVNFQ1JFVA=="
OWN = f"x-api-key: {KEY}\r\nAuthorization: Bearer {TOKEN}\r\nProxy-Authorization: Basic {PASSWORD}\r\nCookie: a={TOKEN}\r\n"
START = "POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\n"
HEADS = {
    "two lengths": f"{START}{OWN}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
    "a length that is none": f"{START}{OWN}Content-Length: 0x2\r\n\r\n{{}}",
    "length and chunks": f"{START}{OWN}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": f"{START}{OWN}Transfer-Encoding: identity\r\n\r\n",
    "a blank before the colon": f"{START}x-api-key : {KEY}\r\nAuthorization : Bearer {TOKEN}\r\n\r\n",
    "a name that is none": f"{START}x(api)key: {KEY}\r\n{OWN}\r\n",
    "no colon": f"{START}x-api-key {KEY}\r\n\r\n",
    "a folded line at first": f"POST /v1/messages HTTP/1.1\r\n x-api-key: {KEY}\r\n\r\n",
    "no version": f"POST /v1/messages {KEY}\r\n{OWN}\r\n",
    "another version": f"POST /v1/messages HTTP/7.0\r\n{OWN}\r\n",
    "only a part": f"{START}{OWN}",
    "a part of a line": f"{START}x-api-key: {KEY}",
    "no request at all": f"{KEY} {TOKEN}\r\n\r\n",
    "no host": f"POST /v1/messages HTTP/1.1\r\n{OWN}\r\n",
    "a chunk that is none": f"{START}{OWN}Transfer-Encoding: chunked\r\n\r\n{KEY}\r\n",
    "garbage after a request": f"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nx-api-key: {KEY}\r\n{OWN}\r\n",
    "a tunnel": f"CONNECT api.anthropic.com:443 HTTP/1.1\r\n{OWN}\r\n",
    "a tunnel to nowhere": f"CONNECT api.anthropic.com HTTP/1.1\r\n{OWN}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


def shown(relay: Relay, flows: Path, printed: str) -> dict[str, bytes]:
    found = {path: relay.web_ui.get(path) for path in ("/flows", "/events", "/flows/dump")} if relay.web else {}
    for flow in relay.web_ui.flows() if relay.web else ():
        found[f"flow {flow['id']}"] = json.dumps(flow).encode()
    relay.on_loop(lambda: relay.master.options.update(save_stream_file=None))  # closes the file
    found["-w"] = flows.read_bytes() if flows.exists() else b""
    found["output"] = printed.encode()
    for number, record in enumerate(relay.logs.records):
        found[f"log {number}"] = (logging.Formatter().format(record) + repr(record.args)).encode()
    return found


@pytest.fixture(params=["mitmdump", "mitmweb"])
def talkative(request: pytest.FixtureRequest, start: StartRelay, tmp_path: Path) -> Relay:
    """Says and keeps all that it can."""
    web = request.param == "mitmweb"
    settings = {"save_stream_file": str(tmp_path / "flows"), "termlog_verbosity": "debug"}
    return start(
        keys=["good-key-of-the-pool"], relay={"web": web, "settings": settings | ({} if web else {"flow_detail": 4})}
    )


def check(relay: Relay, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    relay.wait_until_clients_left()
    for place, data in shown(relay, tmp_path / "flows", "".join(capfd.readouterr())).items():
        for secret in (KEY, TOKEN, PASSWORD, "PROXYSECRET"):
            at = data.find(secret.encode())
            assert at < 0, f"{place}: …{data[max(0, at - 150) : at + 60]!r}…"


def test_a_head_that_is_refused(talkative: Relay, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for head in HEADS.values():
        for port in (talkative.base_port, talkative.proxy_port):
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock,
            ):
                sock.sendall(head.encode())
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
        with contextlib.suppress(ConnectionError), RawClient.through(talkative.proxy_port, talkative.ca_file) as client:
            client.sock.sendall(head.encode())
            client.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while client.sock.recv(65536):
                    pass
    talkative.expect_error("")
    check(talkative, tmp_path, capfd)


WRONG = {
    "upper-case name": [("X-Api-Key", KEY), ("Authorization", f"Bearer {TOKEN}")],
    "two lengths": [("x-api-key", KEY), ("content-length", "1"), ("content-length", "2")],
    "connection": [("authorization", f"Bearer {TOKEN}"), ("connection", "close")],
    "late pseudo header": [("x-api-key", KEY), (":late", TOKEN)],
    "line break": [("x-api-key", f"{KEY}\r\nauthorization: {TOKEN}")],
    "coding": [("x-api-key", KEY), ("transfer-encoding", "chunked")],
}


@pytest.mark.parametrize("which", WRONG)
def test_an_http2_head_that_is_refused(
    talkative: Relay, tmp_path: Path, capfd: pytest.CaptureFixture[str], which: str
) -> None:
    talkative.expect_error("")
    pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "api.anthropic.com"), (":path", "/v1/messages")]
    with H2Client.through(talkative.proxy_port, talkative.ca_file) as client:
        client.h2.config.validate_outbound_headers = client.h2.config.normalize_outbound_headers = False
        client.h2.send_headers(1, [*pseudo, *WRONG[which]], end_stream=True)
        client.sock.sendall(client.h2.data_to_send())
        client.sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while client.sock.recv(65536):
                pass
    check(talkative, tmp_path, capfd)
