"""new-api: rows of its tables `tokens` and `channels`, from its SQLite file, or as its API answers.

    {"tokens": [{"name": "alice", "status": 1, "expired_time": -1, "remain_quota": 500000, "unlimited_quota": false, …}]}
    {"channels": [{"name": "claude", "type": 14, "key": "sk-…\\nsk-…", "base_url": "", "status": 1, "weight": 0}]}

500,000 of its quota are a dollar, unless its operator has set another rate. It must not know the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.permissions import Policy

from .found import Credential, Found, Names, NewClient, masked
from .loose import flag, limit, mapping, mappings, moment, networks, number, text, texts

PER_DOLLAR = 500_000
ENABLED, EXHAUSTED = 1, 4
COMMON = {"", "default", "auto"}
"""Its groups that say nothing."""
HOSTS = {
    1: "https://api.openai.com",
    14: "https://api.anthropic.com",
    16: "https://open.bigmodel.cn",
    17: "https://dashscope.aliyuncs.com",
    20: "https://openrouter.ai/api",
    24: "https://generativelanguage.googleapis.com",
    25: "https://api.moonshot.cn",
    26: "https://open.bigmodel.cn",
    35: "https://api.minimax.chat",
    40: "https://api.siliconflow.cn",
    42: "https://api.mistral.ai",
    43: "https://api.deepseek.com",
    45: "https://ark.cn-beijing.volces.com",
    48: "https://api.x.ai",
}
"""Type of a channel → where it is, when it does not say so itself."""
TABLES = ("tokens", "channels")


def clients(document: object) -> Found:
    """Its tokens. Raises ValueError when there are none in it."""
    tokens = [item for item in _items(document, "tokens") if "remain_quota" in item or "unlimited_quota" in item]
    if not tokens:
        raise ValueError("there are no tokens in it; give it new-api's SQLite file, or what /api/token/ answers")
    names = Names()
    present = [token for token in tokens if not token.get("deleted_at")]
    return Found(tuple(_client(token, names) for token in present))


def credentials(document: object, environ: Mapping[str, str]) -> Found:
    """The keys of its channels. Raises ValueError when there are no channels in it."""
    channels = [item for item in _items(document, "channels") if "type" in item]
    if not channels:
        raise ValueError("there are no channels in it; give it new-api's SQLite file, or rows of its table `channels`")
    found = tuple(credential for channel in channels for credential in _credentials(channel))
    without = sum(not text(channel.get("key")) for channel in channels)
    notes = (f"channels without their key are left out: {without}; its SQLite file has it",)
    return Found(credentials=found, notes=notes if without else ())


def _items(document: object, name: str) -> list[Mapping[str, Any]]:
    """The rows, wherever they are: in a list, in a table by its name, in an answer of its API."""
    outer = mapping(document)
    data = outer.get("data")
    for place in (document, outer.get(name), data, mapping(data).get("items"), mapping(data).get(name)):
        if found := list(mappings(place)):
            return found
    return []


def _client(token: Mapping[str, Any], names: Names) -> NewClient:
    wanted = text(token.get("name"))
    name = names.new(wanted)
    addresses, others = networks(token.get("allow_ips"))
    notes = [f"addresses that are none: {', '.join(others)}"] if others else []
    status = int(number(token.get("status")) or 0)
    left = number(token.get("remain_quota"))
    money: tuple[Limit, ...] = ()
    spent = False
    if not flag(token.get("unlimited_quota")):
        money = tuple(limit("usd", round((left or 0) / PER_DOLLAR, 4), "total"))
        spent = not money
        notes.append(
            "its quota is used up, so it is disabled" if spent else "what is left of its quota is its limit in total"
        )
    group = text(token.get("group"))
    models = texts(token.get("model_limits")) if flag(token.get("model_limits_enabled")) else ()
    expires = token.get("expired_time")
    return NewClient(
        name,
        note="" if name == wanted else wanted,
        tags=() if group in COMMON else (group,),
        owner=text(token.get("user_id")),
        policy=Policy(models=models, addresses=addresses, limits=money),
        enabled=status in (ENABLED, EXHAUSTED) and not spent,
        expires_at=moment(int(number(expires) or 0)) if number(expires) else None,
        was=masked(token.get("key")) or f"token {text(token.get('id'))}",
        notes=tuple(notes),
    )


def _credentials(channel: Mapping[str, Any]) -> Iterator[Credential]:
    name = text(channel.get("name"), 200)
    kind = int(number(channel.get("type")) or 0)
    url = text(channel.get("base_url")) or HOSTS.get(kind, "")
    off = {str(place) for place in mapping(mapping(channel.get("channel_info")).get("multi_key_status_list"))}
    for place, secret in enumerate(_keys(channel.get("key"))):
        fields: dict[str, object] = {
            "label": name,
            "enabled": int(number(channel.get("status")) or 0) == ENABLED and str(place) not in off,
        }
        if (weight := number(channel.get("weight"))) is not None:
            fields["weight"] = weight
        yield Credential(f"channel {text(channel.get('id')) or name}", secret, url, fields)


def _keys(value: object) -> Iterator[str]:
    """One a line, or a list in JSON; keys that are objects (of service accounts) are none of ours."""
    said = str(value or "").strip()
    found: object = said.splitlines()
    if said.startswith("["):
        try:
            found = json.loads(said)
        except ValueError:
            found = ()
    for one in found if isinstance(found, list) else ():
        if isinstance(one, str) and one.strip() and not one.strip().startswith("{"):
            yield one.strip()
