"""What once made a layer of mitmproxy fail: an answer in order, or the end of the connection, and at most one line in the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import steps
from .clients import RawClient, connect, messages_body
from .conftest import StartRelay
from .relay import Relay
from .upstream import FakeUpstream

Base = Callable[[Relay], RawClient]
CONNECT = b"CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n"


@pytest.mark.parametrize("origin", [b"\xff\xfe", b"https://\xc3\x28.example", b"\xed\xa0\x80"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_an_origin_that_is_no_text_is_refused(start: StartRelay, base_client: Base, origin: bytes, method: str) -> None:
    relay = start(keys=["good-1"])
    client = base_client(relay)
    headers = [("origin", origin.decode("latin-1")), ("access-control-request-method", "POST")]
    answer = client.ask(method, "/v1/messages", body=messages_body(), headers=headers)
    assert (answer.status, answer.error_type) == (403, "permission_error")
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200


@pytest.mark.parametrize(
    "after", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xff" * 100]
)
@pytest.mark.parametrize("together", [False, True])
def test_half_a_close_after_connect_ends_the_tunnel(start: StartRelay, after: bytes, together: bool) -> None:
    relay = start(keys=["good-1"])
    with connect(relay.proxy_port) as sock:
        for piece in [CONNECT + after] if together else [CONNECT, after]:
            sock.sendall(piece)
        sock.shutdown(1)
        while sock.recv(65536):
            pass
    relay.wait_until_clients_left()


def test_empty_lines_before_a_request_mean_nothing(start: StartRelay, base_client: Base) -> None:
    client = base_client(start(keys=["good-1"]))
    client.send(b"\r\n\r\n\n" + client.request_bytes("POST", "/v1/messages", body=messages_body()))
    assert client.answer().status == 200


@pytest.mark.parametrize("status", [199, 600, 999])
def test_statuses_that_do_not_exist(start: StartRelay, base_client: Base, upstream: FakeUpstream, status: int) -> None:
    upstream.default = steps.raw(b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status)
    relay = start(keys=["good-1"], retry={"attempts": 2, "max_wait": "20ms", "first_byte": "300ms"})
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status >= 500


def test_a_layer_that_fails_ends_its_connection_and_settles_its_requests(
    start: StartRelay, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_relay.proxy.stream.replay import RelayStream

    relay = start(keys=["good-1"])
    relay.expect_error("could not be handled")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("nobody has thought of it")

    with monkeypatch.context() as patch:
        patch.setattr(RelayStream, "state_gate", fail)
        client = base_client(relay)
        client.post()
        with pytest.raises(ConnectionError):
            client.head()
    assert "ZeroDivisionError: nobody has thought of it" in relay.wait_for_log("could not be handled")
    assert "Traceback" not in relay.log_text()
    relay.wait_until_clients_left()
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200
