"""Each shortcut gives what mitmproxy's own function gives, and goes when the relay does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http, optmanager
from mitmproxy.addons.next_layer import NeedsMoreData, NextLayer
from mitmproxy.connection import Server
from mitmproxy.net.http import url
from mitmproxy.proxy.layers.http import _upstream_proxy
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.proxy.server import TimeoutWatchdog
from mitmproxy.test import tflow

from claude_relay.proxy.mitm import shortcuts
from claude_relay.proxy.mitm.first_bytes import host_header

MITMPROXYS = NextLayer._get_host_header

OWN: dict[str, Any] = {shortcut.name: getattr(shortcut.owner, shortcut.name) for shortcut in shortcuts.SHORTCUTS}
"""mitmproxy's functions, as long as no relay runs."""

NAMES = st.sampled_from(["a", "A", "x-Ä", "", "content-length", b"A", "\udcff"])
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"a", b"A", b"x-\xc3\x84", b"", b"\xff"]), st.binary(max_size=4)), max_size=5
)


@pytest.fixture
def installed() -> Iterator[None]:
    shortcuts.install()
    yield
    shortcuts.remove()


@given(FIELDS, NAMES)
def test_headers_are_found_as_mitmproxy_finds_them(fields: list[tuple[bytes, bytes]], name: Any) -> None:
    headers = http.Headers(fields)
    assert shortcuts.get_all(headers, name) == OWN["get_all"](headers, name)
    assert shortcuts.get(headers, name, 7) == OWN["get"](headers, name, 7)
    assert shortcuts.contains(headers, name) == OWN["__contains__"](headers, name)


@pytest.mark.parametrize("function", [shortcuts.get_all, shortcuts.get, shortcuts.contains])
def test_what_is_no_name_is_refused_as_by_mitmproxy(function: Any) -> None:
    with pytest.raises(TypeError):
        function(http.Headers(), 5)


@pytest.mark.parametrize("value", [True, 7, 1.5, "text", None, ["a", "b"], ("a",)])
@pytest.mark.parametrize("default", [False, "default", ["c"]])
def test_options_have_their_value_or_their_default(value: Any, default: Any) -> None:
    option = optmanager._Option("name", object, default, "help", None)
    assert shortcuts.current(option) == OWN["current"](option) == default
    option.value = value
    assert shortcuts.current(option) == OWN["current"](option) == value


def test_a_list_that_an_option_gave_is_its_readers_own() -> None:
    option = optmanager._Option("name", object, ["a"], "help", None)
    shortcuts.current(option).append("b")
    assert shortcuts.current(option) == ["a"]


def test_hooks_have_their_arguments() -> None:
    hook = HttpRequestHook(tflow.tflow())
    assert shortcuts.args(hook) == OWN["args"](hook) == [hook.flow]


@pytest.mark.parametrize("disarm", [OWN["disarm"], shortcuts.disarm])
def test_a_connection_times_out_only_while_no_hook_runs(disarm: Any) -> None:
    watchdog = TimeoutWatchdog(60, OWN["disarm"])
    watchdog.last_activity = 0.0

    def fail_in_a_hook() -> None:
        with disarm(watchdog):
            with disarm(watchdog):
                assert watchdog.blocker == 2
            assert (watchdog.blocker, watchdog.last_activity) == (1, 0.0)
            assert not watchdog.can_timeout.is_set()
            raise ValueError

    assert outcome(fail_in_a_hook) is ValueError
    assert watchdog.blocker == 0
    assert watchdog.last_activity > 0.0
    assert watchdog.can_timeout.is_set()


@pytest.mark.parametrize("client", [None, ("127.0.0.1", 5)])
@pytest.mark.parametrize("test", ["", "a test"])
def test_tasks_are_called_as_mitmproxy_calls_them(client: Any, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def called_by(name_it: Any) -> tuple[object, ...]:
        task: Any = asyncio.current_task()
        monkeypatch.setenv("PYTEST_CURRENT_TEST", test)
        name_it(task, name="work", client=client)
        return task.get_name(), getattr(task, "client", None), type(task.created)

    mitmproxys, own = (
        asyncio.run(called_by(name_it)) for name_it in (OWN["set_task_debug_info"], shortcuts.set_task_debug_info)
    )
    assert mitmproxys == own


def outcome(function: Callable[..., object], *arguments: object) -> object:
    """What it returns, or the kind of error that it raises."""
    try:
        return function(*arguments)
    except ValueError as error:
        return type(error)


@pytest.mark.parametrize("check", [True, False])
@given(
    text=st.one_of(st.sampled_from(["api.anthropic.com:443", "[::1]:80", b"ex\xc3\xa4mple", "a b", b"\xff"]), st.text())
)
def test_an_authority_is_read_the_same_each_time(text: str | bytes, check: bool) -> None:
    expected = outcome(OWN["parse_authority"], text, check)
    assert [outcome(shortcuts.authority, text, check) for _ in range(2)] == [expected] * 2


def test_a_long_authority_is_read_but_not_kept() -> None:
    before = shortcuts.known.cache_info()
    for text in ("a" * 60 + "." + "b" * 300, "c" * 60_000):
        assert shortcuts.authority(text, False) == OWN["parse_authority"](text, False)
    assert shortcuts.known.cache_info() == before


LINES = st.lists(st.sampled_from([b"Host: a.b", b"host:  c ", b"X: y", b"", b"GET", b"HTTP/1.1 "]), max_size=5)


@given(st.sampled_from([b"GET / HTTP/1.1", b"GE", b"\x16\x03", b"POST / http/1.1", b"GETHTTP/"]), LINES, st.booleans())
def test_a_host_is_found_in_first_bytes_as_mitmproxy_finds_it(first: bytes, lines: list[bytes], whole: bool) -> None:
    data = b"\r\n".join([first, *lines]) + b"\r\n" * whole
    context = SimpleNamespace(client=SimpleNamespace(transport_protocol="tcp"))

    def found(look: Any) -> object:
        try:
            return look(context, data, b"")
        except NeedsMoreData:
            return NeedsMoreData

    begun = b"\x16\x03".startswith(data)  # of TLS, which mitmproxy does not know by so little
    assert found(host_header) == (NeedsMoreData if begun else found(MITMPROXYS))


def test_what_an_outbound_proxy_answers_is_bounded(installed: None) -> None:
    tunnel = object.__new__(_upstream_proxy.HttpUpstreamProxy)
    tunnel.buf, tunnel.send_connect = _upstream_proxy.ReceiveBuffer(), True
    tunnel.tunnel_connection = Server(address=("proxy", 80))
    outcomes = []
    for _ in range(20):
        reading = tunnel.receive_handshake_data(b"x" * 65536)
        with pytest.raises(StopIteration) as end:
            next(reading)
        outcomes.append(end.value.value)
    assert outcomes[-1] == (False, "Error connecting to proxy:80: longer than 64000 bytes")


def test_mitmproxy_uses_them_while_they_are_installed(installed: None) -> None:
    for shortcut in shortcuts.SHORTCUTS:
        assert getattr(shortcut.owner, shortcut.name) is shortcut.function
    assert http.Headers([(b"Host", b"a"), (b"host", b"b")]).get("HOST") == "a, b"
    assert "x" not in http.Headers()
    before = shortcuts.known.cache_info().hits
    request = tflow.treq(headers=http.Headers([(b"Host", b"api.anthropic.com:443")]))
    assert request.pretty_host == request.pretty_host == "api.anthropic.com"
    assert shortcuts.known.cache_info().hits > before


def test_mitmproxy_gets_its_own_back() -> None:
    for _ in range(2):
        shortcuts.install()
        shortcuts.install()
        shortcuts.remove()
        shortcuts.remove()
    assert {shortcut.name: getattr(shortcut.owner, shortcut.name) for shortcut in shortcuts.SHORTCUTS} == OWN
    assert "get" not in vars(http.Headers)
    assert url.parse_authority is OWN["parse_authority"]
