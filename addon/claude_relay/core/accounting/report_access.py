"""Which providers have a report of usage, and whose admin key reads it: its form, where it may go, which variable may hold it.

    form_of(provider)                                 "anthropic", "openai"; None: it has no report that is known here
    origin_of(provider)                               "https://api.anthropic.com": an admin key goes there and nowhere else
    check_admin_key("anthropic", "sk-ant-api03-…")    raises ValueError: this is no admin key
    takes_variable(config.providers, "anthropic")     "ANTHROPIC_ADMIN_KEY"

It must not know what a report says. https://platform.claude.com/docs/en/build-with-claude/administration-api,
https://platform.openai.com/docs/api-reference/administration
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from claude_relay.core.config import Provider
from claude_relay.core.config.outbound import is_this_machine

HOSTS: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": frozenset({"api.anthropic.com"}),
    "openai": frozenset({"api.openai.com", "eu.api.openai.com", "us.api.openai.com"}),
}
"""Form of a report → whose hosts have it; a gateway on this machine may have either."""
FORMS: Final[Mapping[str, str]] = {"anthropic": "anthropic", "openai-chat": "openai", "openai-responses": "openai"}
"""Format of a provider → form of its report."""
VARIABLES: Final[Mapping[str, str]] = {"anthropic": "ANTHROPIC_ADMIN_KEY", "openai": "OPENAI_ADMIN_KEY"}
"""Form → the variable that an admin key may come from."""
PREFIXES: Final[Mapping[str, str]] = {"anthropic": "sk-ant-admin", "openai": "sk-admin-"}
WHERE: Final[Mapping[str, str]] = {
    "anthropic": "https://platform.claude.com/settings/admin-keys",
    "openai": "https://platform.openai.com/settings/organization/admin-keys",
}
"""Form → where the owner of an organisation makes one."""
LONGEST_KEY: Final = 512


def form_of(provider: Provider) -> str | None:
    """Which report its API has."""
    form = FORMS.get(provider.format)
    if form is None:
        return None
    here = is_this_machine(urlsplit(provider.base_url).hostname or "")
    return form if here or is_official(form, provider) else None


def is_official(form: str, provider: Provider) -> bool:
    """Whether it is the API of whoever gives out admin keys of this form, by TLS."""
    parts = urlsplit(provider.base_url)
    return parts.scheme == "https" and parts.hostname in HOSTS[form]


def origin_of(provider: Provider) -> str:
    """Scheme, host and port: where an admin key may go, and nowhere else."""
    parts = urlsplit(provider.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def check_admin_key(form: str, secret: str) -> None:
    """Raises ValueError, which does not repeat it, for what is no admin key: a key of a pool must not end up in its place."""
    prefix = PREFIXES[form]
    if not secret.startswith(prefix) or not len(prefix) + 8 <= len(secret) <= LONGEST_KEY:
        raise ValueError(f"this is no admin key: they begin with {prefix}, and are made at {WHERE[form]}")
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("an admin key has no blanks, line ends or other odd characters in it; copy it again")


def takes_variable(providers: Mapping[str, Provider], name: str) -> str | None:
    """The variable that this provider's admin key may come from; None: none.

    A variable names no provider, so it is for the first one of relay.yaml that is at the official address, and for no gateway.
    """
    form = form_of(providers[name])
    if form is None:
        return None
    official = (known for known, one in providers.items() if form_of(one) == form and is_official(form, one))
    return VARIABLES[form] if next(official, None) == name else None
