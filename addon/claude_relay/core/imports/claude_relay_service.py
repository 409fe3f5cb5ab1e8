"""claude-relay-service: what its scripts `data-transfer` and `data-transfer-enhanced` export, and its `/admin/sync/export-accounts`.

    {"metadata": {…}, "data": {"apiKeys": [{"name": "alice", "apiKey": "<hash>", "dailyCostLimit": "20", …}]}}
    {"success": true, "data": {"claudeConsoleAccounts": [{"name": …, "credentials": {"api_key": …, "base_url": …}}]}}

Numbers and flags are text in it, lists are JSON in text; 0 is no limit; keys are hashed. It must not know the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import DAY, HOUR

from .found import Credential, Found, Names, NewClient, only_once
from .loose import flag, limit, mapping, mappings, moment, number, text, texts

PROGRAMS = {
    "claude_code": ("claude-cli*",),
    "gemini_cli": ("GeminiCLI*",),
    "codex_cli": ("codex*",),
    "droid_cli": ("factory-cli*",),
}
"""Its names of client programs → globs."""
ACCOUNTS = ("claudeConsoleAccounts", "openaiResponsesAccounts", "geminiApiAccounts", "azureOpenaiAccounts")
OTHER_ACCOUNTS = ("claudeAccounts", "geminiAccounts", "openaiOAuthAccounts", "openaiAccounts", "bedrockAccounts")
WINDOW = 5 * HOUR / 60
"""Minutes of the one window of money that there is here, too."""


def clients(document: object) -> Found:
    """Its API keys. Raises ValueError when there are none in it."""
    keys = list(mappings(_data(document).get("apiKeys")))
    if not keys:
        raise ValueError("there are no `apiKeys` in it; export with --types=apikeys or --types=all")
    names = Names()
    present = [key for key in keys if not flag(key.get("isDeleted"))]
    left = f"API keys that were deleted there are left out: {len(keys) - len(present)}"
    return Found(tuple(_client(key, names) for key in present), notes=(left,) if len(present) < len(keys) else ())


def credentials(document: object, environ: Mapping[str, str]) -> Found:
    """Its accounts that are API keys. Raises ValueError when there is no account in it."""
    data = _data(document)
    found = [
        _credential(kind, place, item) for kind in ACCOUNTS for place, item in enumerate(mappings(data.get(kind)), 1)
    ]
    others = sum(1 for kind in OTHER_ACCOUNTS for _ in mappings(data.get(kind)))
    if not found and not others:
        raise ValueError("there are no accounts in it; use /admin/sync/export-accounts?include_secrets=true")
    sealed = sum(credential is None for credential in found)
    counts = {
        f"accounts that are logins, not API keys, are left out: {others}": others,
        f"accounts whose key cannot be read are left out: {sealed}; /admin/sync/export-accounts has it": sealed,
    }
    notes = tuple(note for note, count in counts.items() if count)
    return Found(credentials=tuple(one for one in found if one is not None), notes=notes)


def _data(document: object) -> Mapping[str, Any]:
    outer = mapping(document)
    return mapping(outer.get("data")) or outer


def _client(key: Mapping[str, Any], names: Names) -> NewClient:
    limits, notes = _limits(key)
    programs: tuple[str, ...] = ()
    if flag(key.get("enableClientRestriction")):
        for program in texts(key.get("allowedClients")):
            programs += PROGRAMS.get(program, (f"{program}*",))
    if flag(key.get("enableModelRestriction")) and (models := texts(key.get("restrictedModels"))):
        notes.append(f"models that it must not use ({', '.join(models)})")
    if services := [one for one in texts(key.get("permissions")) if one not in ("all", "claude")]:
        notes.append(f"services that it may use ({', '.join(services)})")
    if any(value for name, value in key.items() if name.endswith("AccountId") and value not in ("", "null")):
        notes.append("accounts of its own")
    wanted, note = text(key.get("name")), text(key.get("description"))
    name = names.new(wanted)
    pending = key.get("expirationMode") == "activation" and not flag(key.get("isActivated"))
    unit = HOUR if key.get("activationUnit") == "hours" else DAY
    return NewClient(
        name,
        note="; ".join(filter(None, ("" if name == wanted else wanted, note))),
        tags=texts(key.get("tags")),
        owner=text(key.get("userId")) or text(key.get("userUsername")),
        policy=Policy(programs=programs, limits=limits),
        enabled=flag(key.get("isActive"), True),
        expires_at=None if pending else moment(key.get("expiresAt")),
        expires_after=(number(key.get("activationDays")) or 30.0) * unit if pending else None,
        was=text(key.get("id")),
        notes=tuple(notes),
    )


def _limits(key: Mapping[str, Any]) -> tuple[tuple[Limit, ...], list[str]]:
    notes: list[str] = []
    window = number(key.get("rateLimitWindow"))
    found: list[Limit] = list(limit("concurrent", key.get("concurrencyLimit")))
    if window is not None:
        for measure, name in (("requests", "rateLimitRequests"), ("tokens", "tokenLimit")):
            if (amount := number(key.get(name))) is not None:
                found += limit("requests" if measure == "requests" else "tokens", max(1.0, amount / window), "minute")
                if window != 1:
                    notes.append(f"{amount:g} {measure} in {window:g} minutes became a rate a minute")
        if (cost := number(key.get("rateLimitCost"))) is not None:
            found += limit("usd", cost, "5h" if window <= WINDOW else "day")
            if window != WINDOW:
                notes.append(
                    f"${cost:g} in {window:g} minutes became a limit per {'5h' if window <= WINDOW else 'day'}"
                )
    found += limit("usd", key.get("dailyCostLimit"), "day")
    found += limit("usd", key.get("totalCostLimit"), "total")
    found += limit("usd", key.get("weeklyOpusCostLimit"), "week", "claude-*")
    found += limit("usd", key.get("dailyOpusCostLimit"), "day", "claude-opus-*")
    return only_once(found), notes


def _credential(kind: str, place: int, item: Mapping[str, Any]) -> Credential | None:
    inner = mapping(item.get("credentials"))
    secret = text(inner.get("api_key") or ("" if ":" in text(item.get("apiKey")) else item.get("apiKey")), 5000)
    if not secret:
        return None
    fields: dict[str, object] = {
        "label": text(item.get("name"), 200),
        "enabled": flag(item.get("isActive"), True) and flag(item.get("schedulable"), True),
    }
    if (most := number(item.get("maxConcurrentTasks"))) is not None:
        fields["concurrent"] = int(most)
    fields |= dict(_proxy(mapping(item.get("proxy"))))
    return Credential(f"{kind} {place}", secret, text(inner.get("base_url") or item.get("apiUrl")), fields)


def _proxy(proxy: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    if proxy.get("host") and number(proxy.get("port")):
        user = f"{text(proxy.get('username'))}:{text(proxy.get('password'))}@" if proxy.get("username") else ""
        kind = text(proxy.get("protocol") or proxy.get("type")) or "http"
        yield "proxy", f"{kind}://{user}{text(proxy['host'])}:{int(number(proxy['port']) or 0)}"
