"""CLIProxyAPI: its config.yaml, with the keys of clients and those of providers.

    api-keys: [your-api-key-1, your-api-key-2]
    claude-api-key: [{api-key: sk-…, base-url: https://…, weight: 5, proxy-url: socks5://…}]

Its clients are plain keys without names or limits. It must not know the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .found import Credential, Found, Names, NewClient, masked
from .loose import flag, mapping, mappings, number, text

LISTS = {
    "claude-api-key": "https://api.anthropic.com",
    "codex-api-key": "https://api.openai.com/v1",
    "gemini-api-key": "https://generativelanguage.googleapis.com/v1beta",
    "xai-api-key": "https://api.x.ai/v1",
}
"""Its lists of keys → where those are used that do not say it."""


def clients(document: object) -> Found:
    """Its `api-keys`. Raises ValueError when there are none in it."""
    outer = mapping(document)
    found = list(outer.get("api-keys") or ()) if isinstance(outer.get("api-keys"), list) else []
    for provider in mappings(mapping(mapping(outer.get("auth")).get("providers")).get("config-api-key")):
        found += provider.get("api-keys") or ()
    keys = [
        text(mapping(key).get("api-key") or mapping(key).get("key") if isinstance(key, dict) else key) for key in found
    ]
    if not any(keys):
        raise ValueError("there are no `api-keys` in it; give it CLIProxyAPI's config.yaml")
    names = Names()
    return Found(
        tuple(NewClient(names.new(f"client-{n}"), was=masked(key)) for n, key in enumerate(keys, 1) if key),
        notes=("its clients have no names and no limits there; edit says what they are",),
    )


def credentials(document: object, environ: Mapping[str, str]) -> Found:
    """The keys of its lists. Raises ValueError when there are none in it."""
    outer = mapping(document)
    found = [*_of_lists(outer), *_compatible(outer)]
    if not found:
        raise ValueError(f"there is none of {', '.join(LISTS)} or openai-compatibility in it")
    return Found(
        credentials=tuple(found),
        notes=("logins (files of its auth-dir) are no API keys; they were left out",) if outer.get("auth-dir") else (),
    )


def _of_lists(outer: Mapping[str, Any]) -> Iterator[Credential]:
    for name, url in LISTS.items():
        for place, item in enumerate(mappings(outer.get(name)), 1):
            if secret := text(item.get("api-key"), 5000):
                fields = dict(_fields(item, text(item.get("prefix"))))
                yield Credential(f"{name} {place}", secret, text(item.get("base-url")) or url, fields)
    for place, key in enumerate(outer.get("generative-language-api-key") or (), 1):  # as older versions have it
        yield Credential(f"generative-language-api-key {place}", text(key, 5000), LISTS["gemini-api-key"])


def _compatible(outer: Mapping[str, Any]) -> Iterator[Credential]:
    for provider in mappings(outer.get("openai-compatibility")):
        name, url = text(provider.get("name")), text(provider.get("base-url"))
        entries = [*mappings(provider.get("api-key-entries"))]
        entries += [{"api-key": key} for key in provider.get("api-keys") or () if isinstance(key, str)]
        for place, item in enumerate(entries, 1):
            if secret := text(item.get("api-key"), 5000):
                fields = dict(_fields(item, name)) | ({"enabled": False} if flag(provider.get("disabled")) else {})
                yield Credential(f"{name or 'openai-compatibility'} {place}", secret, url, fields)


def _fields(item: Mapping[str, Any], label: str) -> Iterator[tuple[str, object]]:
    if label:
        yield "label", label[:200]
    if (weight := number(item.get("weight"))) is not None:
        yield "weight", weight
    if proxy := text(item.get("proxy-url")):
        yield "proxy", "direct" if proxy == "none" else proxy
