"""What a client's person needs: lines for a shell, lines of settings to sign in, a test request.

    where = places(config.listen, {"base_url": "0.0.0.0:8082"}, host=None, own="relay-machine")
    for line in lines("alice", (), "rk-…", where, "fish"): ...
    document("alice", "rk-…", where)                             the same as JSON has it

A client key goes into ANTHROPIC_AUTH_TOKEN: with a base URL Claude Code sends what is in ANTHROPIC_API_KEY to Anthropic, too. Keys are
shown once, when they are made, so a placeholder stands in the lines unless a new one is made for them. It must not know who prints them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from claude_relay.core import shells
from claude_relay.core.config import Address, Listen
from claude_relay.core.installation import command
from claude_relay.core.visitors import WILDCARDS, is_loopback

from .credentials import PLACEHOLDER

OVERLAP = 86_400.0
"""Seconds for which an old key is valid after `--new-key`."""
KEY = "rk-…"
CA_FILE = "claude-relay-ca.pem"
CA = "@@"
"""Stands for the file of the CA until the shell is known."""
HOME_FILE = f'"$HOME/{CA_FILE}"'
"""In double quotes, as all three kinds of shells fill it in."""
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem /etc/pki/tls/cert.pem"
"""Where systems keep the CAs that they trust: Debian and its like; macOS and BSD; Fedora and its like."""
MODEL = "claude-haiku-4-5"
BODY = '{{"model": "{model}", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello"}}]}}'


@dataclass(frozen=True, slots=True)
class Places:
    """Where the relay is for somebody on another machine. `hints`: what keeps it from being so."""

    base_url: str | None
    proxy: str | None
    sign_in: bool = False
    hints: tuple[str, ...] = ()


def places(listen: Listen, running: Mapping[str, str | None] | None, *, host: str | None, own: str) -> Places:
    """`running`: where the running relay really listens, by name; None: none runs, and relay.yaml says it. `host`: the name of this
    machine for others, or the URL of a reverse proxy before the base URL; `own`: the name that it has for itself. Raises ValueError where
    there is no way in.
    """
    before, host = parse_host(host)
    tls = listen.tls is not None
    found: dict[str, str | None] = {}
    hints: list[str] = []
    for name in ("base_url", "proxy"):
        said = running.get(name) if running is not None else None
        address: Address | None = (
            Address.parse(said) if said else None if running is not None else getattr(listen, name)
        )
        found[name] = None if address is None else _url(address, host or _name(address, listen.hosts, own), tls)
        if address is not None:
            called = host or _name(address, listen.hosts, own)
            hints += _hints(name, address, called, listen.hosts, tls) if name == "proxy" or before is None else ()
    if not any(found.values()):
        raise ValueError("the running relay has neither a proxy nor a base URL; set listen.base_url in relay.yaml")
    base_url, sign_in = before or found["base_url"], listen.sign_in
    if sign_in and base_url is not None and not _may_sign_in(base_url):
        sign_in = False
        hints.append("to sign in Claude Code wants https://, but for its own machine: set listen.tls")
    return Places(base_url, found["proxy"], sign_in, tuple(dict.fromkeys(hints)))


def parse_host(host: str | None) -> tuple[str | None, str | None]:
    """URL and name of what is said of a host. Raises ValueError."""
    if host is None or "://" not in host:
        return None, host
    try:
        parts = urlsplit(host)
        name, _ = parts.hostname, parts.port
    except ValueError:
        name = None
    if name is None or parts.scheme not in ("http", "https"):
        raise ValueError(f"{host!r} is no name and no address such as https://relay.example.com")
    return host.rstrip("/"), name


def _may_sign_in(url: str) -> bool:
    """Whether Claude Code would: without TLS on its own machine only."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname == "localhost" or is_loopback(parts.hostname or "")


def document(client: str, key: str | None, where: Places) -> dict[str, Any]:
    """As JSON. `key` None: a placeholder stands for it."""
    filled = {
        name: way and {n: f"~/{CA_FILE}" if v == CA else v for n, v in way.items()}
        for name, way in _ways(client, key, where).items()
    }
    ca = f"{where.base_url}/relay/ca.pem" if where.base_url else None
    return {
        "client": client,
        "key": key,
        **filled,
        "ca": ca,
        "settings": _settings(where),
        "hints": list(where.hints),
    }


def lines(client: str, models: Sequence[str], key: str | None, where: Places, shell: str) -> Iterator[str]:
    """For a shell. `models`: globs of those that the client may ask for."""
    model = next((one for one in models if not re.search(r"[*?\[]", one)), MODEL)
    ways, settings, number = _ways(client, key, where), _settings(where), 0
    yield f"# For {client}: one of these ways, in the shell or in the file that it starts with."
    yield (
        "# The key is private."
        if key
        else f"# In place of {KEY} comes the client key, which was shown when it was made."
    )
    if (way := ways["base_url"]) is not None:
        number += 1
        yield f"\n# {number}. The base URL: for Claude Code, SDKs and whatever else takes one"
        yield from shells.lines(dict(way), shell)
        yield "\n#    A test request"
        yield from _test(where.base_url or "", key or KEY, model, shell)
    if (way := ways["proxy"]) is not None:
        number += 1
        yield f"\n# {number}. The proxy: for programs that cannot be configured, with the relay's CA"
        yield from _fetch_ca(where.base_url, shell)
        yield from (
            re.sub(f"'?{CA}'?", HOME_FILE.replace("\\", r"\\"), line) for line in shells.lines(dict(way), shell)
        )
    if settings is not None:
        number += 1
        yield f"\n# {number}. Signing in: in ~/.claude/settings.json, then /login in Claude Code"
        yield json.dumps(settings, indent=2)


def _ways(client: str, key: str | None, where: Places) -> dict[str, dict[str, str] | None]:
    return {
        "base_url": _base_url(where.base_url, key or KEY) if where.base_url else None,
        "proxy": _proxy(where.proxy, client, key or KEY) if where.proxy else None,
    }


def _base_url(url: str, key: str) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key}


def _proxy(url: str, name: str, key: str) -> dict[str, str]:
    """The credential is in the proxy's address; Claude Code wants one of its own, which leaves the relay never."""
    scheme, _, place = url.partition("://")
    return {
        "HTTPS_PROXY": f"{scheme}://{name.replace('@', '%40')}:{key}@{place}",
        **dict.fromkeys((*shells.ADDING, *shells.REPLACING), CA),
        "ANTHROPIC_AUTH_TOKEN": PLACEHOLDER,
    }


def _settings(where: Places) -> dict[str, str] | None:
    if not where.sign_in or where.base_url is None:
        return None
    return {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": where.base_url}


def _fetch_ca(base_url: str | None, shell: str) -> Iterator[str]:
    windows = shells.SAME.get(shell, shell) == "powershell"
    if base_url is None:
        yield f"#    Copy the relay's CA to ~/{CA_FILE} first: {command('env')} on its machine names the file."
    else:
        yield f"{'curl.exe' if windows else 'curl'} -fsS {base_url}/relay/ca.pem -o {HOME_FILE}"
    yield "#    The CAs that you trust otherwise belong behind it, for programs that then know of no others"
    if not windows:
        yield f"cat {SYSTEM_CAS} 2>/dev/null >>{HOME_FILE}"


def _test(url: str, key: str, model: str, shell: str) -> Iterator[str]:
    if shells.SAME.get(shell, shell) == "powershell":
        yield "claude -p Hello"
        return
    yield f"curl -sS {url}/v1/messages \\"
    yield f"  -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\"
    yield "  -H 'anthropic-version: 2023-06-01' \\"
    yield f"  -d '{BODY.format(model=model)}'"


def _name(address: Address, hosts: tuple[str, ...], own: str) -> str:
    """By which name others reach a listener."""
    if address.host not in WILDCARDS:
        return address.host
    return next((host for host in hosts if "*" not in host), None) or own


def _url(address: Address, host: str, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{Address(host, address.port)}"


def _hints(name: str, address: Address, called: str, hosts: tuple[str, ...], tls: bool) -> Iterator[str]:
    if is_loopback(address.host) or address.host == "localhost":
        yield f"listen.{name} is {address}, which only this machine reaches; for others set it to 0.0.0.0:{address.port}"
        return
    if not re.fullmatch(r"[\d.]+|[0-9a-f:]+", called) and called.lower() not in hosts:
        yield f"the relay answers to the name {called} only if it is in listen.hosts; or name an address: --host 10.0.0.5"
    if tls:
        yield (
            "programs must trust who has signed the certificate of listen.tls; an authority of your own belongs into "
            f"NODE_EXTRA_CA_CERTS and SSL_CERT_FILE, and into ~/{CA_FILE}"
        )
    else:
        yield "without listen.tls the key crosses the network as plain text"
