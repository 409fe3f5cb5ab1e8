"""A request's head has come: whose it is, and what is known of it before anything else.

    relayed = claim(flow, runtime, parts)        to an intercepted host, or to the base URL
    await lead_on(flow, runtime, clients)        to any other host: on it goes as it is, if it may

It must not know where a request goes.
"""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from claude_relay.core.clients.offers import holds_own, without_own
from claude_relay.core.config import Address
from claude_relay.core.endpoints import Page, at_base_url, classify, own_page
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.core.visitors import is_browsing
from claude_relay.proxy.access import doors
from claude_relay.proxy.access.identity import identify, offers_of
from claude_relay.proxy.log.plain import learn_of_client
from claude_relay.proxy.messages.hop_by_hop import led_on
from claude_relay.proxy.messages.replies import error_answer, new_request_id
from claude_relay.proxy.messages.welcome import welcome
from claude_relay.proxy.messages.wire import CLIENT_ALIAS, lower_headers, mask_client, names_in
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.provider.redaction import Redaction, own_secrets
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.proxy.running.runtime import Runtime

from .parts import Parts


async def lead_on(flow: http.HTTPFlow, runtime: Runtime, clients: KnownClients | None) -> None:
    """None of the relay's: it goes on, or is refused."""
    request = flow.request
    if await doors.is_visit(flow, runtime.config, lower_headers(request)):
        flow.response = welcome(runtime.config, new_request_id(), at_proxy=True)
        return
    error = await doors.passage(flow, runtime.config, lower_headers(request), clients, intercepted=False)
    if (error := error or doors.astray(flow, runtime.claims)) is not None:
        flow.response = error_answer(error, new_request_id())
        return
    fields = led_on(request.data.headers.fields)
    if any(b"rk-" in value for _, value in fields):
        fields = tuple(field for field in fields if not holds_own(field[1]))
    request.data.headers.fields = fields
    request.stream = flow.is_replay is None  # nothing of it is looked at, so nothing need be kept
    outbound.lead_on(flow, runtime.way)


def claim(flow: http.HTTPFlow, runtime: Runtime, parts: Parts) -> Relayed:
    """The relay's from now on. The client's credentials are taken out of the flow."""
    request, headers = flow.request, lower_headers(flow.request)
    local, barred = doors.entrance(flow, runtime.config, headers)
    offers = offers_of(flow, headers)
    if b"rk-" in request.data.path:
        request.path = without_own(request.path)
    host = base = page = None
    if isinstance(flow.client_conn.proxy_mode, ReverseMode):
        base = Address(*flow.client_conn.sockname[:2]).url
        if flow.client_conn.tls:  # by the name that its certificate has
            base = next((f"https://{name}" for name in names_in(request)), base)
        request.path = at_base_url(request.path)
        page = own_page(request.path)
        if page is None and is_browsing(request.method, request.path, headers):
            page = Page.WELCOME
        # A request to the base URL means the intercepted host, which speaks TLS.
        request.data.scheme, host = b"https", request.data.host.encode()
        request.data.authority = host if request.is_http2 else b""
    endpoint = classify(request.path) if page is None else Endpoint.SIDE
    side = endpoint is Endpoint.SIDE
    relayed = Relayed(
        id=new_request_id(),
        facts=Facts(endpoint, headers=headers),
        runtime=runtime,
        limits=runtime.side_limits if side else runtime.limits,
        started_at=time.time(),
        method=request.method,
        base=base,
        page=page,
        local=local,
        offers=offers,
        turned_away=barred,
        keep_body=(parts.keeps_bodies or flow.is_replay is not None) and not side,
        is_shown=parts.view.view is not None or flow.is_replay is not None,
    )
    RELAYED[flow] = relayed
    relayed.client_signature, relayed.placeholder_only = mask_client(request, host)
    secrets = own_secrets(relayed.client_signature.fields)
    if offers:
        secrets += tuple([(offer.secret.encode("utf-8", "replace"), CLIENT_ALIAS) for offer in offers])
    relayed.redaction = Redaction(secrets, side=side)
    learn_of_client(secrets)
    return relayed


async def admit(flow: http.HTTPFlow, relayed: Relayed, clients: KnownClients | None) -> None:
    """Whose request it is. Who is not served gets pages of the relay's own, which say themselves what they need, and nothing else."""
    await identify(flow, relayed, clients)
    is_preflight = flow.request.method == "OPTIONS" and "access-control-request-method" in relayed.facts.headers
    if relayed.page is None and not is_preflight:
        relayed.turned_away = relayed.turned_away or relayed.unserved
