"""Flows as files for others to read, from mitmproxy's console: `relay.export har @all report.har`.

    exporting.export("har", "@focus", "report.har", texts=False)      returns what begins now; what came of it is logged

Credentials, cookies and ids of accounts are redacted, on request all texts, too. An exported flow is another one: what its connections
were is not in it. Raises CommandError for what cannot be done; what turns out later is logged. It must not know how anything is redacted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mitmproxy import ctx, exceptions, http, io
from mitmproxy.connection import Client, Server
from mitmproxy.flow import Error, Flow
from mitmproxy.log import ALERT

from claude_relay.core.config import ConfigError, named_proxies
from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.core.installation import own_version
from claude_relay.core.redacting.archive import har
from claude_relay.core.redacting.redactor import Exchange, Redactor
from claude_relay.core.redacting.scripted import script
from claude_relay.core.secrets import Secret
from claude_relay.store.db.replacing import replacing

from .common.loops import errand
from .common.process import in_thread
from .provider.redaction import proxy_secrets
from .recordings import PREFIX, file_at
from .running.runtime import Runtime

logger = logging.getLogger(__name__)
NO_VIEW: Final = "{} is no file, and mitmdump keeps no flows: name a file of flows or a HAR file."
FACTS: Final = "relay_"
"""What the relay knows of a flow begins so, in its metadata."""
NOWHERE: Final = ("127.0.0.1", 0)


class Exporting:
    """Of one relay."""

    def __init__(self, runtime: Callable[[], Runtime | None]) -> None:
        self.runtime = runtime

    def export(self, form: str, spec: str, path: str, *, texts: bool) -> str:
        """Begin. `spec`: flows that are shown, as mitmproxy's commands take them, a request's id, or a file; `path`: a new file."""
        if form not in FORMS:
            raise exceptions.CommandError(f"{form} is none of: {', '.join(FORMS)}")
        target = Path(path).expanduser()
        refuse_unfit(target)
        chosen = self.chosen(spec)
        known = tuple(secrets_of(self.runtime()))

        async def work() -> None:
            try:
                done = await in_thread(export, FORMS[form], chosen, target, known, texts)
            except (OSError, ValueError) as error:
                logger.warning("%s was not written: %s", target, getattr(error, "strerror", None) or error)
                return
            logger.log(ALERT, "%s", done)

        errand(work, "relay.export")
        return f"writing {spec} to {target}" + (", without texts" if texts else "; prompts and answers are in it")

    def chosen(self, spec: str) -> Callable[[], list[Flow]]:
        """Flows that are shown, as they are now, or those in a file, which is still to be read. That raises ValueError and OSError."""
        if (path := file_at(spec)) is not None:
            return lambda: flows_in(path)
        if ctx.master.addons.get("view") is None:
            raise exceptions.CommandError(NO_VIEW.format(spec))
        shown = f"~meta relay_request:.*{spec}" if spec.startswith(PREFIX) else spec
        found = list(ctx.master.commands.call("view.flows.resolve", shown))
        if not any(isinstance(flow, http.HTTPFlow) for flow in found):
            raise exceptions.CommandError(f"{spec}: there is no request in it")
        exchanges = [exchange_of(flow) for flow in found if isinstance(flow, http.HTTPFlow)]  # they may go on changing
        return lambda: [flow_of(exchange) for exchange in exchanges]


# -- in a thread


def export(
    form: Callable[[list[Exchange], str], bytes],
    chosen: Callable[[], list[Flow]],
    target: Path,
    known: Sequence[Secret],
    texts: bool,
) -> str:
    """Write the file; returns what is to be said of it. Raises OSError and ValueError."""
    flows = chosen()
    exchanges = [exchange_of(flow) for flow in flows if isinstance(flow, http.HTTPFlow)]
    if not exchanges:
        raise ValueError("there is no request in it")
    redactor = Redactor(known, texts=texts)
    for exchange in exchanges:
        redactor.learn(exchange)
    data = form([redactor.clean(exchange) for exchange in exchanges], target.name)
    with replacing(target) as unfinished:
        unfinished.write_bytes(data)
        refuse_unfit(target)
    others = len(flows) - len(exchanges)
    left_out = f"; left out: {others} that are no HTTP" if others else ""
    count = f"{len(exchanges)} requests are" if len(exchanges) > 1 else "1 request is"
    kept = "Credentials and texts are redacted" if texts else "Credentials are redacted; prompts and answers are in it"
    return f"{count} in {target} ({len(data):,} bytes{left_out}). {kept}."


def refuse_unfit(target: Path) -> None:
    """A file is never overwritten. Raises CommandError, which is no OSError."""
    if target.exists() or target.is_symlink():
        raise exceptions.CommandError(f"{target} is there already: name another file, or remove it first")
    if not target.parent.is_dir():
        raise exceptions.CommandError(f"there is no folder {target.parent}")


def flows_in(path: Path) -> list[Flow]:
    """All of a file of flows, or of a HAR file. Raises ValueError and OSError."""
    try:
        return list(io.FlowReader(BytesIO(path.read_bytes())).stream())
    except exceptions.FlowReadException as error:
        raise ValueError(f"{path.name}: it is no file of flows, or a damaged one ({error})") from None


def secrets_of(runtime: Runtime | None) -> Iterator[Secret]:
    """What the relay itself knows."""
    if runtime is None:
        return
    for pool in runtime.pools.values():
        for key in pool.keys:
            yield key.secret.encode("utf-8", "replace"), f"relay:{key.provider}/{key.alias}".encode()
            if key.proxy is not None:
                try:
                    yield from proxy_secrets(OutboundProxy.parse(key.proxy))
                except (ValueError, ConfigError):
                    yield str(key.proxy).encode("utf-8", "replace"), b"redacted"
    ways = (provider.proxy for provider in runtime.config.providers.values())
    for proxy in (*ways, *named_proxies(runtime.config).values(), *runtime.way.proxies):
        yield from proxy_secrets(proxy)
    notices = runtime.config.notices
    for secret in (notices.webhook, notices.secret):
        if secret is not None:
            yield secret.get_secret_value().encode("utf-8", "replace"), b"redacted-webhook"


# -- from flows, and to them


def exchange_of(flow: http.HTTPFlow) -> Exchange:
    """A flow as it is now."""
    request, response = flow.request, flow.response
    host = request.data.authority.decode("utf-8", "surrogateescape") or request.host_header or ""
    url = request.pretty_url if host else request.url
    return Exchange(
        request.method,
        url,
        _fields(request),
        request.data.content,
        request.http_version,
        None if response is None else response.status_code,
        "" if response is None else response.reason,
        () if response is None else _fields(response),
        None if response is None else response.data.content,
        "" if flow.error is None else flow.error.msg,
        flow.comment,
        {
            name: str(value)
            for name, value in flow.metadata.items()
            if name.startswith(FACTS) and isinstance(value, str)
        },
        request.timestamp_start,
        request.timestamp_end,
        None if response is None else response.timestamp_start,
        None if response is None else response.timestamp_end,
    )


def flow_of(exchange: Exchange) -> http.HTTPFlow:
    """A flow of its own, which shows that; its connections are nobody's."""
    parts = urlsplit(exchange.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or "unknown"
    flow = http.HTTPFlow(Client(peername=NOWHERE, sockname=NOWHERE), Server(address=(host, port)))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    version = exchange.version.encode()
    flow.request = http.Request(
        host,
        port,
        exchange.method.encode("utf-8", "surrogateescape"),
        parts.scheme.encode(),
        b"",
        path.encode("utf-8", "surrogateescape"),
        version,
        http.Headers(exchange.fields),
        exchange.body,
        None,
        exchange.began,
        exchange.uploaded,
    )
    if exchange.status is not None:
        flow.response = http.Response(
            version,
            exchange.status,
            exchange.reason.encode("latin-1", "replace"),
            http.Headers(exchange.answer_fields),
            exchange.answer,
            None,
            exchange.answered or exchange.began,
            exchange.ended,
        )
    if exchange.error:
        flow.error = Error(exchange.error, exchange.ended or exchange.began)
    flow.comment = exchange.note
    flow.metadata |= dict(exchange.facts)
    return flow


def _fields(message: http.Message) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(message.data.headers.fields)


def _flows(exchanges: list[Exchange], _name: str) -> bytes:
    stream = BytesIO()
    writer = io.FlowWriter(stream)
    for exchange in exchanges:
        writer.add(flow_of(exchange))
    return stream.getvalue()


FORMS: Final[dict[str, Callable[[list[Exchange], str], bytes]]] = {
    "flows": _flows,
    "har": lambda exchanges, _name: har(exchanges, own_version()),
    "curl": script,
}
"""How each form is written."""
