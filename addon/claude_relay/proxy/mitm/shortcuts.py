"""What mitmproxy does many times for every message, done in less time while a relay runs, and what it does without bounds, within some.

    install()   each of SHORTCUTS and BOUNDED takes the place of mitmproxy's own
    remove()    mitmproxy gets its own back

Each shortcut gives what mitmproxy's gives for every argument (tests/proxy/mitm/test_shortcuts.py holds them side by side). What this module
must not know: the relay.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mitmproxy import hooks, http, optmanager
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.net.http import url
from mitmproxy.net.http.http1 import read
from mitmproxy.proxy import server
from mitmproxy.proxy.layers.http import _http1, _upstream_proxy
from mitmproxy.proxy.layers.tls import ServerTLSLayer
from mitmproxy.utils import asyncio_utils
from mitmproxy.utils.strutils import always_str

from claude_relay.proxy.messages.wire import headers_of

from .alerts import receive_data
from .first_bytes import explicit_proxy, host_header
from .heads import Buffer, receive_connect_answer
from .tunnels import MAKE

GET_ALL: Final = http.Headers.get_all
PARSE: Final = url.parse_authority
LONGEST: Final = 255
"""Characters of an authority that is kept: clients may send any text as one, and a thousand long ones would take up memory."""
NO_AUTHORITY: Final = 1000
"""Characters above which it is none: to decode international names takes time in proportion to the square of their length."""
known: Final = functools.lru_cache(maxsize=1024)(PARSE)
UNCHANGING: Final = frozenset({bool, int, float, str, type(None)})


def unchecked(_: http.MessageData) -> None:
    """After the fields are set mitmproxy asserts that each has the declared type, which is as much work as parsing the message."""


def parsed(fields: list[tuple[bytes, bytes]]) -> http.Headers:
    """Header fields that mitmproxy's parser has just cut out of bytes: that they are pairs of bytes need not be looked at."""
    return headers_of(tuple(fields))


def get_all(headers: http.Headers, name: str | bytes) -> list[str]:
    """The values of a header. mitmproxy goes through three functions for each field, some twenty times for each request."""
    if type(name) is not str:
        return GET_ALL(headers, name)
    key = name.encode("utf-8", "surrogateescape").lower()
    size = len(key)
    return [
        value.decode("utf-8", "surrogateescape")
        for field, value in headers.fields
        if len(field) == size and field.lower() == key
    ]


def get(headers: http.Headers, name: str | bytes, default: Any = None) -> Any:
    """The values of a header as one, without a KeyError raised and caught for each that is not there."""
    values = headers.get_all(name)
    return ", ".join(values) if values else default


def contains(headers: http.Headers, name: object) -> bool:
    """Whether there is such a header."""
    return bool(headers.get_all(name))  # type: ignore[arg-type]


def current(option: optmanager._Option) -> Any:
    """An option's value. mitmproxy copies it, which is needed only where it can change."""
    value = option._default if option.value is optmanager.unset else option.value
    return value if type(value) in UNCHANGING else copy.deepcopy(value)


def args(hook: hooks.Hook) -> list[Any]:
    """What a hook is called with."""
    return [getattr(hook, name) for name in hook.__dataclass_fields__]  # type: ignore[attr-defined]


def authority(authority: Any, check: bool) -> tuple[Any, int | None]:
    """Host and port, found once for each text: mitmproxy reads the same Host header four times for each request."""
    if len(authority) <= LONGEST:
        return known(authority, check)
    if len(authority) <= NO_AUTHORITY:
        return PARSE(authority, check)
    if check:
        raise ValueError("the authority is too long to be one")
    return always_str(authority, "utf-8", "surrogateescape"), None


class Disarmed:
    """While a hook runs nobody is idle. mitmproxy makes a generator for each, and two objects around it."""

    __slots__ = ("_watchdog",)

    def __init__(self, watchdog: server.TimeoutWatchdog) -> None:
        self._watchdog = watchdog

    def __enter__(self) -> None:
        """One more hook runs."""
        self._watchdog.can_timeout.clear()
        self._watchdog.blocker += 1

    def __exit__(self, *_: object) -> None:
        """It has ended."""
        watchdog = self._watchdog
        watchdog.blocker -= 1
        if not watchdog.blocker:
            watchdog.register_activity()
            watchdog.can_timeout.set()


def disarm(watchdog: server.TimeoutWatchdog) -> Disarmed:
    """Of a connection."""
    return Disarmed(watchdog)


def set_task_debug_info(task: asyncio.Task[Any], *, name: str, client: tuple[Any, ...] | None = None) -> None:
    """What a task is called. mitmproxy looks each time whether the environment names a test."""
    task.created = time.time()  # type: ignore[attr-defined]
    if "pytest" in sys.modules and (test := os.environ.get("PYTEST_CURRENT_TEST")):
        name = f"{name} [created in {test}]"
    task.set_name(name)
    if client:
        task.client = client  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A function that stands in for mitmproxy's of that name."""

    owner: Any
    name: str
    function: Callable[..., Any]
    original: Any
    """None: inherited."""

    def install(self) -> None:
        """Take its place."""
        setattr(self.owner, self.name, self.function)

    def remove(self) -> None:
        """Give it back."""
        if self.original is not None:
            setattr(self.owner, self.name, self.original)
        elif self.name in vars(self.owner):
            delattr(self.owner, self.name)


SHORTCUTS: Final = tuple(
    Shortcut(owner, name, function, vars(owner).get(name))
    for owner, name, function in (
        (http.MessageData, "__post_init__", unchecked),
        (http.Headers, "get_all", get_all),
        (http.Headers, "get", get),
        (http.Headers, "__contains__", contains),
        (optmanager._Option, "current", current),
        (hooks.Hook, "args", args),
        (server.TimeoutWatchdog, "disarm", disarm),
        (asyncio_utils, "set_task_debug_info", set_task_debug_info),
        (read, "Headers", parsed),
        (url, "parse_authority", authority),
    )
)
BOUNDED: Final = tuple(
    Shortcut(owner, name, function, vars(owner).get(name))
    for owner, name, function in (
        (NextLayer, "_get_host_header", staticmethod(host_header)),
        (NextLayer, "_setup_explicit_http_proxy", staticmethod(explicit_proxy)),
        (_http1, "ReceiveBuffer", Buffer),
        (_upstream_proxy, "ReceiveBuffer", Buffer),
        (_upstream_proxy.HttpUpstreamProxy, "receive_handshake_data", receive_connect_answer),
        (_upstream_proxy.HttpUpstreamProxy, "make", MAKE),
        (ServerTLSLayer, "receive_data", receive_data),
    )
)


def install() -> None:
    """Put all in place; installing twice does no harm."""
    for shortcut in (*SHORTCUTS, *BOUNDED):
        shortcut.install()


def remove() -> None:
    """Give all back; removing twice does no harm."""
    for shortcut in (*SHORTCUTS, *BOUNDED):
        shortcut.remove()
