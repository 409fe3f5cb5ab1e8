"""Recorded requests, sent again from mitmproxy's console: `relay.replay` and `relay.duel`.

    recordings.replay("@focus", "glm/glm-4.6")                  flows that are shown, or a file: to a target, or by the routes
    recordings.duel("agent.flow", ["anthropic", "glm"])         each request to each of the targets; what came of it is logged

Each is sent as a flow of its own, one after the other, through the relay like any other request. Raises CommandError for what cannot
be done; what turns out later is logged. It must not know how a request gets to its target.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mitmproxy import ctx, exceptions, http
from mitmproxy.connection import Client, Server
from mitmproxy.flow import Flow
from mitmproxy.log import ALERT

from claude_relay.core.duels.answers import Answer
from claude_relay.core.duels.outcomes import Duel, Outcome, Round
from claude_relay.core.duels.texts import lines
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.files import Recording, read
from claude_relay.core.recordings.flow_files import ATTEMPT
from claude_relay.core.recordings.recorded import ORIGIN, TARGET, Recorded, Unusable
from claude_relay.store.ledger.ledger import RequestRow

from .common.loops import errand
from .common.process import in_thread
from .flow.aiming import provider_of
from .messages.wire import CLIENT_ALIAS
from .running.runtime import Runtime
from .stream.resending import HERE, Resending

logger = logging.getLogger(__name__)
PREFIX: Final = "req_relay_"
NO_VIEW: Final = "{} is no file, and mitmdump keeps no flows: name a file of flows or a HAR file."


class Recordings:
    """Of one relay. `rows`: what the ledger got of flows that were sent again."""

    def __init__(
        self,
        runtime: Callable[[], Runtime | None],
        resending: Resending,
        rows: MutableMapping[http.HTTPFlow, RequestRow],
    ) -> None:
        self.runtime = runtime
        self.resending = resending
        self.rows = rows

    def replay(self, spec: str, target: str) -> str:
        """Send flows, or what is in a file, again. `target`: empty for where the routes lead. Returns what begins now."""
        runtime = self.check([target] if target else [])

        async def work() -> None:
            for recorded in await requests(chosen):
                await self.send(flow_of(recorded, runtime, target, Origin.REPLAY))

        chosen = self.chosen(spec)
        errand(lambda: report(work), "relay.replay")
        return f"sending {spec} again" + (f" to {target}" if target else "")

    def duel(self, spec: str, targets: Sequence[str]) -> str:
        """Send each request to each target. Returns what begins now."""
        if len(set(targets)) < 2:
            raise exceptions.CommandError("a duel takes two targets or more: relay.duel FLOW PROVIDER PROVIDER/MODEL")
        runtime = self.check(targets)

        async def work() -> None:
            rounds = [
                Round(recorded, {target: [await self.outcome(recorded, runtime, target)] for target in targets})
                for recorded in await requests(chosen)
            ]
            for line in lines(Duel(tuple(targets), tuple(rounds))):
                logger.log(ALERT, "%s", line)

        chosen = self.chosen(spec)
        errand(lambda: report(work), "relay.duel")
        return f"{spec} goes to {', '.join(targets)}; what comes of it will be in the log"

    def check(self, targets: Sequence[str]) -> Runtime:
        """The relay that runs, which has these targets."""
        if (runtime := self.runtime()) is None:
            raise exceptions.CommandError("the relay does not run: its log says why")
        for target in targets:
            try:
                provider_of(target, runtime)
            except ValueError as error:
                raise exceptions.CommandError(str(error)) from None
        return runtime

    # -- what is sent

    def chosen(self, spec: str) -> Callable[[], Recording]:
        """What flows that are shown ask now, or what is in a file, which is still to be read. That raises Unusable and OSError."""
        if (path := file_at(spec)) is not None:
            return lambda: read(path.read_bytes(), path.name)
        if (view := ctx.master.addons.get("view")) is None:
            raise exceptions.CommandError(NO_VIEW.format(spec))
        shown = f"~hs {spec}" if spec.startswith(PREFIX) else spec
        flows = ctx.master.commands.call("view.flows.resolve", shown)
        found = dict.fromkeys(request_of(flow, view._store.values()) for flow in flows)
        try:
            recording = Recording.of(map(recorded_of, found), spec)
        except Unusable as error:
            raise exceptions.CommandError(str(error)) from None
        return lambda: recording

    # -- sending

    async def send(self, flow: http.HTTPFlow) -> None:
        """Until its answer has ended."""
        await self.resending.send(flow)

    async def outcome(self, recorded: Recorded, runtime: Runtime, target: str) -> Outcome:
        """What a target makes of a request."""
        flow = flow_of(recorded, runtime, target, Origin.DUEL)
        await self.send(flow)
        row, response = self.rows.pop(flow, None), flow.response
        if response is None:
            why = flow.error.msg if flow.error is not None else "nothing came back"
            answer = Answer(0, error="broken", message=why)
        else:
            kind = response.headers.get("content-type", "")
            answer = Answer.of(response.status_code, kind, response.get_content(strict=False) or b"")
        return Outcome(answer, "" if row is None else row.id, None if row is None else dataclasses.asdict(row))


def file_at(spec: str) -> Path | None:
    """The file that is named; None: it is a filter, such as `~u messages`."""
    path = Path(spec).expanduser() if spec.startswith("~/") else Path(spec)
    with suppress(OSError):  # a filter may be longer than any name
        return path if path.is_file() else None
    return None


async def requests(chosen: Callable[[], Recording]) -> tuple[Recorded, ...]:
    """All that can be sent again; a file is read off the event loop. Raises Unusable and OSError."""
    recording = await in_thread(chosen)
    for why in recording.left_out:
        logger.warning("left out: %s", why)
    return recording.requests


def request_of(flow: Flow, shown: Iterable[Flow]) -> Flow:
    """The flow itself, or where that shows what the relay sent for a request: the request's, as long as it is shown."""
    if not flow.comment.startswith(ATTEMPT):
        return flow
    others = (other for other in shown if not other.comment.startswith(ATTEMPT))
    request = flow.metadata.get("relay_request")
    return next((other for other in others if other.metadata.get("relay_request") == request), flow)


def recorded_of(flow: Flow) -> Recorded | Unusable:
    """A flow that is shown."""
    name = flow.id[:8]
    if not isinstance(flow, http.HTTPFlow):
        return Unusable(f"{name}: only HTTP flows can be sent again")
    request = flow.request
    try:
        return Recorded.of(name, request.method, request.path, request.data.headers.fields, request.data.content)
    except Unusable as error:
        return error


def flow_of(recorded: Recorded, runtime: Runtime, target: str, origin: Origin) -> http.HTTPFlow:
    """A flow of its own, to the first host that is intercepted. Its key is the relay's to choose, for it has none."""
    host = runtime.config.intercept.hosts[0]
    aimed = ((TARGET, target),) if target else ()
    fields = (("Host", host), *recorded.fields, ("x-api-key", CLIENT_ALIAS.decode()), (ORIGIN, str(origin)), *aimed)
    flow = http.HTTPFlow(Client(peername=HERE, sockname=HERE), Server(address=(host, 443)))
    head = http.Headers([(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in fields])
    flow.request = http.Request(
        host, 443, b"POST", b"https", b"", recorded.path.encode(), b"HTTP/1.1", head, recorded.body, None, 0.0, 0.0
    )
    flow.metadata["recorded"] = recorded.name
    return flow


async def report(work: Callable[[], Awaitable[None]]) -> None:
    """Do it; what somebody can mend is said in a line."""
    try:
        await work()
    except (Unusable, OSError) as error:
        logger.warning("%s", error)
