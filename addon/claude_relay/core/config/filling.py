"""What a provider of relay.yaml does not say itself: by its preset, by what its format wants, by where it is.

    presets()["zhipu"]["base_url"]
    filled_providers(data["providers"], meant={"api.anthropic.com"}, environ=environ, found=problems)

`meant`: the hosts that clients' own credentials are meant for. It must not know other sections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from .models import NATIVE
from .oauth import with_client
from .problems import Place, suggest
from .spending import LOOPBACK
from .values import says_too_much, split_keys

FIRST = "first"
"""In the place of a model's name: the first one that the provider lists, such as what a local server has loaded."""
NO_KEY = "none"
"""What a server that asks for no key gets in its place, so that nothing of the client's goes there."""
FILLED_IN = ("format", "base_url", "auth", "options", "headers", "models")
"""What a preset may say in the place of a provider."""
AUTH_OF = {"gemini": "x-goog-api-key"}
"""Where formats other than Claude's want the key, if not as a bearer."""


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Name → format, base_url, auth, source, date, and what else a provider of the configuration may say.

    base_url  None: everybody has another one; `example` shows what it looks like
    keyless   a server that asks for no key: it gets the word `none`
    """
    data = json.loads(files("claude_relay.core.data").joinpath("presets.json").read_text("utf-8"))
    found: dict[str, dict[str, Any]] = data["presets"]
    return found


def filled_providers(providers: object, meant: Set[str], environ: Mapping[str, str], found: dict[Place, str]) -> object:
    """The providers with what presets and the default of `empty_pool` fill in; problems go into `found`.

    A client's own credential goes by default only to the hosts it was meant for, or to a program on this machine: a key
    variable that happens to be unset must not hand somebody's Claude login to another provider.
    """
    if not isinstance(providers, dict):
        return providers
    return {
        name: _with_client(_filled(provider, ("providers", name), meant | LOOPBACK, found), environ)
        for name, provider in providers.items()
    }


def _with_client(provider: object, environ: Mapping[str, str]) -> object:
    if not isinstance(provider, dict) or not provider.get("oauth"):
        return provider
    return {**provider, "oauth": with_client(provider["oauth"], environ)}


def _filled(provider: object, place: Place, trusted: Set[str], found: dict[Place, str]) -> object:
    if not isinstance(provider, dict | None):
        return provider
    filled = _from_preset(provider or {}, place, found)
    if isinstance(filled.get("keys"), list) and all(isinstance(key, str) for key in filled["keys"]):
        filled["keys"] = _keys(filled["keys"], (*place, "keys"), found)
    if not filled.get("keys") and presets().get(str(filled.get("preset")), {}).get("keyless"):
        filled["keys"] = [SecretStr(NO_KEY)]
    form = filled.get("format", NATIVE)
    if isinstance(filled.get("base_url"), str) and (wrong := says_too_much(filled["base_url"].strip(), str(form))):
        found.setdefault((*place, "base_url"), wrong)
    if form == NATIVE:
        if filled.get("body"):
            found.setdefault((*place, "body"), "bodies in Claude's own format pass unchanged; leave it out")
        if "empty_pool" not in filled and _host(filled.get("base_url")) in trusted:
            filled["empty_pool"] = "passthrough"
    else:
        filled.setdefault("auth", AUTH_OF.get(str(form), "bearer"))
        if filled.get("empty_pool") == "passthrough":
            found.setdefault(
                (*place, "empty_pool"),
                "a client's Claude credential is of no use there and must not go there; say reject",
            )
        if filled.get("own_credential") in ("first", "last"):
            found.setdefault(
                (*place, "own_credential"),
                "a client's Claude credential is of no use there and must not go there; say never",
            )
    return filled


def _from_preset(provider: dict[str, Any], place: Place, found: dict[Place, str]) -> dict[str, Any]:
    name = provider.get("preset")
    preset = presets().get(str(name), {})
    if name is not None and not preset:
        found.setdefault((*place, "preset"), f"unknown; {suggest(str(name), presets())}")
    elif name is None and not provider.get("base_url"):
        found.setdefault(place, f"base_url is missing; give it, or a preset ({', '.join(presets())})")
    elif preset and not (preset["base_url"] or provider.get("base_url")):
        found.setdefault(place, f"base_url is missing; with this preset it is your own, such as {preset['example']}")
    usual = {field: preset[field] for field in FILLED_IN if preset.get(field)}
    filled = usual | {field: value for field, value in provider.items() if value is not None or field not in usual}
    for field in ("options", "headers"):
        if isinstance(provider.get(field), dict):
            filled[field] = preset.get(field, {}) | provider[field]
    return filled


def _keys(entries: list[str], place: Place, found: dict[Place, str]) -> list[SecretStr]:
    secrets: dict[str, None] = {}
    for index, entry in enumerate(entries):
        try:
            secrets.update(dict.fromkeys(split_keys([entry])))
        except ValueError as error:
            found.setdefault((*place, index), str(error))
    return [SecretStr(secret) for secret in secrets]


def _host(url: object) -> str:
    try:
        return urlsplit(str(url)).hostname or ""
    except ValueError:
        return ""
