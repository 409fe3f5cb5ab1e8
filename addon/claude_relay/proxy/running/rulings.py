"""What becomes of each of mitmproxy's options under the relay, as a table.

    >>> why_refused("stickycookie", ".")
    "mitmproxy's option stickycookie cannot be used with the relay: it gives one client's cookies to the requests of others"
    >>> why_refused("http2", False) is None
    True

A ruling is one of three: the option may have any value; the relay sets it (unless the user did, where `options` says so);
some or all values but the default are refused, because they would break a promise. tests/proxy/running/test_rulings.py walks the options
of mitmdump, mitmweb and mitmproxy and wants a ruling for each. Must not know what is set at the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

type Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of one option.

    kind     fine: as the user likes it; set: by the relay; refused: the values that `refuses` says, by default any that is true
    why      one clause; of a refused one it follows the option's name in a sentence
    """

    kind: Literal["fine", "set", "refused"]
    why: str
    refuses: Test | None = None


def fine(why: str) -> Ruling:
    """Any value."""
    return Ruling("fine", why)


def set_by_us(why: str, refuses: Test | None = None) -> Ruling:
    """The relay gives it its value. `refuses`: what nobody may make of it afterwards."""
    return Ruling("set", why, refuses)


def refused(why: str, refuses: Test = bool) -> Ruling:
    """Some values break a promise."""
    return Ruling("refused", why, refuses)


def off(value: Any) -> bool:
    """A switch that must stay on."""
    return not value


LOOKS = "only what is shown"
TLS = "how TLS is spoken; keys leave over it all the same"
UDP = "no listener of the relay's takes UDP"
ADDRESS = "the relay's listeners are where relay.yaml says; for further ones given by `mode`"
ANSWERS = "answers in the place of a provider: no key is chosen, no row written"
REPLAYED = f"belongs to server_replay, which {ANSWERS}"
RESENT = "recorded requests go through the relay, as those of clients do"
REWRITES = (
    "changes requests or answers, which pass byte for byte; relay.yaml has `headers` and `models` for each provider"
)

NEWER = frozenset({"emudhra", "emudhra_old"})
"""Options that mitmproxy has since 12.3.1."""
SHARED_CA = "signs certificates with a key that others hold, too; the relay's CA is its own"

RULINGS: dict[str, Ruling] = {
    "emudhra": refused(SHARED_CA),
    "emudhra_old": refused(SHARED_CA),
    # -- bodies and their way
    "stream_large_bodies": refused(
        "sends a body on before the relay has chosen a key and a provider, and leaves nothing to try again with; "
        "answers stream by themselves"
    ),
    "body_size_limit": refused(
        "answers in HTML, and cuts off streams that are under way; the relay itself bounds what it keeps of a body",
        lambda value: value is not None,
    ),
    "store_streamed_bodies": fine("what is kept of a relayed answer is for relay_keep_bodies to say"),
    "modify_body": refused(REWRITES),
    "modify_headers": refused(REWRITES),
    "map_remote": refused("leads requests past the routes of relay.yaml, keys with them"),
    "map_local": refused(ANSWERS),
    "block_list": refused("answers without a body that a client can read, or not at all, and without a row"),
    "anticache": refused("takes header fields out of requests, which pass as they came"),
    "anticomp": refused("changes what a request accepts; the relay asks by itself for what it can read"),
    "stickyauth": refused("gives one client's credential to the requests of others"),
    "stickycookie": refused("gives one client's cookies to the requests of others"),
    "proxyauth": refused("takes a client's API key for a proxy's password and answers 401 at the base URL"),
    "upstream_auth": refused(
        "puts its password where the key belongs; an outbound proxy's stands in its URL under `proxy` in relay.yaml"
    ),
    "keep_host_header": refused("sends the relay's own name to providers as Host"),
    "keep_alt_svc_header": refused("gives clients addresses past the relay"),
    # -- recorded flows
    "server_replay": refused(ANSWERS),
    "server_replay_extra": refused(REPLAYED, lambda value: value != "forward"),
    "server_replay_ignore_content": refused(REPLAYED),
    "server_replay_ignore_host": refused(REPLAYED),
    "server_replay_ignore_params": refused(REPLAYED),
    "server_replay_ignore_payload_params": refused(REPLAYED),
    "server_replay_ignore_port": refused(REPLAYED),
    "server_replay_kill_extra": refused(REPLAYED),
    "server_replay_nopop": refused(REPLAYED),
    "server_replay_refresh": refused(REPLAYED, off),
    "server_replay_reuse": refused(REPLAYED),
    "server_replay_use_headers": refused(REPLAYED),
    "client_replay": fine(RESENT),
    "client_replay_concurrency": fine(RESENT),
    "rfile": fine("flows of a file are shown; the relay leaves alone what is not live"),
    "readfile_filter": fine(LOOKS),
    "keepserving": fine("only when mitmdump ends by itself"),
    "save_stream_file": fine("flows hold aliases, never keys"),
    "save_stream_filter": fine("flows hold aliases, never keys"),
    "hardump": fine("flows hold aliases, never keys; mitmdump keeps all of them in memory for it"),
    "export_preserve_original_ip": fine(LOOKS),
    # -- which traffic
    "allow_hosts": set_by_us("says which hosts are read: those under intercept.hosts in relay.yaml, and nobody else's"),
    "ignore_hosts": refused(
        "would have all other hosts read; intercept.hosts in relay.yaml names those that are, and all others are tunnelled unread"
    ),
    "tcp_hosts": refused("leads hosts past the relay; intercept.hosts in relay.yaml names those that it serves"),
    "udp_hosts": fine(UDP),
    "rawtcp": fine("hosts that are not intercepted are tunnelled either way"),
    "websocket": fine("a relayed request is never turned into a WebSocket; others may be"),
    "http2": fine("without it both sides speak HTTP/1.1"),
    "http2_ping_keepalive": fine("pings of mitmproxy's own, which no answer waits for"),
    "http3": fine(UDP),
    "mode": set_by_us("where to listen, as `listen` in relay.yaml says; `mode` of the user's takes its place"),
    "server": fine("without it nothing listens, and flows of a file can be looked at"),
    "listen_host": fine(ADDRESS),
    "listen_port": fine(ADDRESS),
    "block_global": fine("only programs on this machine may use keys, whoever may connect"),
    "block_private": fine("only programs on this machine may use keys, whoever may connect"),
    "onboarding": fine("answers for its own host only, with mitmproxy's certificate"),
    "onboarding_host": refused(
        "has mitmproxy answer requests to that host, a provider's perhaps", lambda value: value != "mitm.it"
    ),
    "show_ignored_hosts": fine("tunnels stay unread, but are kept in memory"),
    "showhost": fine(LOOKS),
    # -- connections
    "connection_strategy": set_by_us(
        "eager connects to the intercepted host before the relay has chosen where to, and fails with it",
        lambda value: value != "lazy",
    ),
    "tcp_timeout": set_by_us("an hour, so that long answers may be silent; unless the user has set it"),
    "connect_addr": fine("the address that connections leave from"),
    "http_connect_send_host_header": fine("only what an outbound proxy gets"),
    "validate_inbound_headers": refused("lets requests be smuggled past the relay when it is off", off),
    "normalize_outbound_headers": refused("lets header names leave that HTTP/2 forbids when it is off", off),
    "proxy_debug": refused("writes every byte to the log, keys included"),
    "add_upstream_certs_to_client_chain": fine(TLS),
    "cert_passphrase": fine(TLS),
    "certs": fine(TLS),
    "ciphers_client": fine(TLS),
    "ciphers_server": fine(TLS),
    "client_certs": fine(TLS),
    "confdir": fine("where mitmproxy's own certificate authority is; `confdir` checks it"),
    "key_size": fine(TLS),
    "request_client_cert": fine(TLS),
    "ssl_insecure": fine("said at the start: keys go to whoever answers in a provider's name"),
    "ssl_verify_upstream_trusted_ca": fine(TLS),
    "ssl_verify_upstream_trusted_confdir": fine(TLS),
    "tls_ecdh_curve_client": fine(TLS),
    "tls_ecdh_curve_server": fine(TLS),
    "tls_version_client_max": fine(TLS),
    "tls_version_client_min": fine(TLS),
    "tls_version_server_max": fine(TLS),
    "tls_version_server_min": fine(TLS),
    "upstream_cert": fine(TLS),
    "dns_name_servers": fine(UDP),
    "dns_use_hosts_file": fine(UDP),
    "strip_ech": fine(UDP),
    # -- programs and pages
    "scripts": fine("other scripts run beside the relay, and answer for what they do"),
    "command_history": fine(LOOKS),
    "content_view_lines_cutoff": fine(LOOKS),
    "protobuf_definitions": fine(LOOKS),
    "intercept": fine("a person holds flows, and lets go of them"),
    "intercept_active": fine("a person holds flows, and lets go of them"),
    "view_filter": fine(LOOKS),
    "view_order": fine(LOOKS),
    "view_order_reversed": fine(LOOKS),
    "dumper_default_contentview": fine(LOOKS),
    "dumper_filter": fine(LOOKS),
    "flow_detail": set_by_us("0: the relay's own lines say more; unless the user has set it"),
    "termlog_verbosity": set_by_us("alert: warnings and what the relay says; unless the user has set it"),
    "console_default_contentview": fine(LOOKS),
    "console_eventlog_verbosity": fine(LOOKS),
    "console_flowlist_layout": fine(LOOKS),
    "console_focus_follow": fine(LOOKS),
    "console_layout": fine(LOOKS),
    "console_layout_headers": fine(LOOKS),
    "console_mouse": fine(LOOKS),
    "console_palette": fine(LOOKS),
    "console_palette_transparent": fine(LOOKS),
    "console_quickhelp_visible": fine(LOOKS),
    "console_strip_trailing_newlines": fine(LOOKS),
    "web_columns": set_by_us("with the comment, which tells a request's story; unless the user has set it"),
    "web_debug": fine(LOOKS),
    "web_host": fine("flows hold aliases, never keys, and mitmweb asks for its password"),
    "web_open_browser": fine(LOOKS),
    "web_password": fine("mitmweb's own"),
    "web_port": fine("mitmweb's own"),
    "web_static_viewer": fine(LOOKS),
}

REFUSED = frozenset(name for name, ruling in RULINGS.items() if ruling.refuses is not None or name == "allow_hosts")
"""Options that may have a value with which the relay does not run."""


def why_refused(name: str, value: Any) -> str | None:
    """The sentence that refuses this value of an option, without a full stop; None: it may have it, or is not mitmproxy's."""
    ruling = RULINGS.get(name)
    if ruling is None or ruling.refuses is None or not ruling.refuses(value):
        return None
    return refusal(name, ruling.why)


def refusal(name: str, why: str) -> str:
    """The sentence."""
    return f"mitmproxy's option {name} cannot be used with the relay: it {why}"
