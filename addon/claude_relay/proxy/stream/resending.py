"""Recorded requests, sent again by way of the relay: mitmproxy's `replay.client`, its Replay buttons, its option `client_replay`.

    resending = Resending(lambda: runtime, connections.saw)
    resending.install(); resending.remove()     mitmproxy's own replay goes through the relay, or says why it does not
    await resending.send(flow)                  one flow now, beside mitmproxy's queue

To the hooks it is a request like any other, sent by a person at this machine (`flow.is_replay`). It must not know where it goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mitmproxy import ctx, http
from mitmproxy.addons import clientplayback
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.flow import Flow
from mitmproxy.options import Options
from mitmproxy.proxy import layer

from claude_relay.proxy.messages.wire import FRAMING, is_alias
from claude_relay.proxy.mitm.shortcuts import Shortcut
from claude_relay.proxy.running.runtime import Runtime

from .layer import RelayLayer

HERE: Final = ("127.0.0.1", 0)
STOPPED: Final = "The relay does not run, so nothing is sent: its log says why."
NO_BODY: Final = "The body of this request was not kept, so it cannot be sent again."
ATTEMPT: Final = (
    "This is what the relay sent to {}, and the key is not in it. Replay the request that it was sent for, "
    "or give that one to relay.replay with the target {}."
)

HANDLER: Final = clientplayback.ReplayHandler
CHECK: Final = clientplayback.ClientPlayback.check

type Saw = Callable[[layer.Layer | None], None]


class Replay(clientplayback.ReplayHandler):
    """One recorded request on its way: what mitmproxy has for it, with streams that can try again."""

    def __init__(self, flow: http.HTTPFlow, options: Options, saw: Saw) -> None:
        """The flow will be the new request's; its client is this machine. `saw` is told of its HTTP layer."""
        here = Client(peername=HERE, sockname=HERE, timestamp_start=time.time(), state=ConnectionState.OPEN)
        flow.client_conn = here
        super().__init__(flow, options)
        flow.client_conn = self.client
        make_whole(flow.request)
        RelayLayer.adopt(self.layer)
        saw(self.layer)

    async def replay(self) -> None:
        """Send it, and wait for the end of its answer. Until then it is among the clients' connections, which end with the relay."""
        connections = ctx.master.addons.get("proxyserver").connections
        connections[self.client.id] = self
        try:
            await super().replay()
        finally:
            del connections[self.client.id]
            for timer in self.wakeup_timer:
                timer.cancel()


class Resending:
    """`runtime`: of the relay, None as long as it does not run; `saw`: is told of each HTTP layer."""

    def __init__(self, runtime: Callable[[], Runtime | None], saw: Saw) -> None:
        self.runtime = runtime
        self.saw = saw

        def checked(playback: clientplayback.ClientPlayback, flow: Flow) -> str | None:
            return self.refusal(flow) or CHECK(playback, flow)

        self.places = (
            Shortcut(clientplayback, "ReplayHandler", self.handler, HANDLER),
            Shortcut(clientplayback.ClientPlayback, "check", checked, CHECK),
        )

    def install(self) -> None:
        """Take the place of mitmproxy's own way; a second time does nothing."""
        for place in self.places:
            place.install()

    def remove(self) -> None:
        """Give it back; a second time does nothing."""
        for place in self.places:
            place.remove()

    def refusal(self, flow: Flow) -> str | None:
        """Why a flow is not sent again, but for what mitmproxy itself has against it."""
        if not isinstance(flow, http.HTTPFlow) or flow.live or flow.request.data.content is None:
            return None
        runtime, request = self.runtime(), flow.request
        if runtime is None:
            return STOPPED
        if not runtime.claims(request.host, request.port) and (alias := alias_in(request)):
            return ATTEMPT.format(request.host, alias)
        return NO_BODY if lacks_body(request) else None

    async def send(self, flow: http.HTTPFlow) -> None:
        """Send a flow that nobody else has, and wait for the end of its answer."""
        flow.is_replay = "request"
        await self.handler(flow, ctx.options).replay()

    def handler(self, flow: http.HTTPFlow, options: Options) -> Replay:
        """In the place of mitmproxy's own."""
        return Replay(flow, options, self.saw)


def make_whole(request: http.Request) -> None:
    """What a recorded or edited head may lack, and no client's does: the host's name, and the true length of the body."""
    if not request.host_header:
        request.host_header = request.host
    if "content-length" in request.headers:
        request.headers["content-length"] = str(len(request.data.content or b""))


def alias_in(request: http.Request) -> str | None:
    """The key that a recorded request was sent with, by its alias; None: its head holds none."""
    found = next((value for _, value in request.data.headers.fields if is_alias(value)), None)
    return None if found is None else found.decode("latin-1").rpartition("relay:")[2]


def lacks_body(request: http.Request) -> bool:
    """Whether its head announces a body that is not there: a file that went on as it came, or a side call."""
    announced = [value.strip() for name, value in request.data.headers.fields if name.lower() in FRAMING]
    return not request.data.content and any(value != b"0" for value in announced)
