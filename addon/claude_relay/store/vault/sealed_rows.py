"""Rows of `keys` with what is sealed in them: new ones, opened ones, and all of them sealed anew.

    rows, duplicates = distinguished(connection, [NewKey("anthropic", "sk-ant-…")], box)
    keys, damaged = opened(connection.execute(ISSUED).fetchall(), box)

What this module must not know: transactions, and where the box came from.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.core.exchange import Key, KeyLimits

from .records import NO_LIMITS, NewKey, mask
from .sealing import Box, Damaged

SECRET, PROXY = "secret", "proxy"
"""The sealed fields."""
ISSUED = """
    SELECT id, provider, alias, secret, proxy, tier, weight, label, key_group, requests_per_minute,
        tokens_per_minute, concurrent, kind
    FROM keys {where} ORDER BY provider, rowid"""
INSERT = """
    INSERT INTO keys (
        id, provider, alias, kind, mask, label, tier, key_group, weight, requests_per_minute, tokens_per_minute, concurrent, enabled,
        proxy_address, notes, fingerprint, secret, proxy
    ) VALUES (
        :id, :provider, :alias, :kind, :mask, :label, :tier, :group, :weight, :requests_per_minute, :tokens_per_minute,
        :concurrent, :enabled, :proxy_address, :notes, :fingerprint, :secret, :proxy
    )"""
RESEAL = "UPDATE keys SET fingerprint = ?, secret = ?, proxy = ? WHERE id = ?"

type Row = tuple[object, ...]
type Text = tuple[str, str, str, str | None]
"""Id, provider, secret and proxy of a key, opened."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that is not new: `index` is its place among the new ones, `name` that of the one which is there.

    first  the place of the same key before it, when it comes twice
    """

    index: int
    name: str
    removed: bool = False
    first: int | None = None


def opened(rows: Iterable[Row], box: Box) -> tuple[list[Key], tuple[str, ...]]:
    """The keys of rows of ISSUED, and the names of those that were tampered with."""
    keys: list[Key] = []
    damaged: list[str] = []
    for row in rows:
        try:
            keys.append(_key(row, box))
        except (Damaged, ValueError):
            damaged.append(f"{row[1]}/{row[2]}")
    return keys, tuple(damaged)


def distinguished(
    connection: sqlite3.Connection, news: Sequence[NewKey], box: Box
) -> tuple[list[dict[str, object]], tuple[Duplicate, ...]]:
    """Rows for INSERT of those that are new, and what became of the others. Takes the next aliases."""
    rows, duplicates, last = _sorted_out(connection, news, box)
    connection.executemany(
        "INSERT INTO aliases (provider, last) VALUES (?, ?) ON CONFLICT (provider) DO UPDATE SET last = excluded.last",
        last.items(),
    )
    return [_row(new, alias, mark, box) for new, alias, mark in rows], duplicates


def compared(
    connection: sqlite3.Connection, news: Sequence[NewKey], box: Box
) -> tuple[list[NewKey], tuple[Duplicate, ...]]:
    """Those that are new, and what became of the others. Changes nothing."""
    rows, duplicates, _ = _sorted_out(connection, news, box)
    return [new for new, _, _ in rows], duplicates


def repeated(news: Sequence[NewKey]) -> tuple[Duplicate, ...]:
    """Those that come twice; nothing is there yet."""
    seen: dict[tuple[str, str], int] = {}
    numbers = ((index, seen.setdefault((new.provider, new.secret), index)) for index, new in enumerate(news))
    return tuple(Duplicate(index, "", first=first) for index, first in numbers if first != index)


def _sorted_out(
    connection: sqlite3.Connection, news: Sequence[NewKey], box: Box
) -> tuple[list[tuple[NewKey, str, bytes]], tuple[Duplicate, ...], dict[str, int]]:
    """Each new one with its alias and mark, the others, and the last number given at each provider."""
    known = {
        (provider, mark): (f"{provider}/{alias}", removed is not None)
        for provider, mark, alias, removed in connection.execute(
            "SELECT provider, fingerprint, alias, removed_at FROM keys"
        )
    }
    last: dict[str, int] = dict(connection.execute("SELECT provider, last FROM aliases"))
    rows: list[tuple[NewKey, str, bytes]] = []
    duplicates: list[Duplicate] = []
    firsts: dict[tuple[str, bytes], int] = {}
    for index, new in enumerate(news):
        mark = new.provider, box.fingerprint(new.secret, provider=new.provider)
        if mark in known:
            duplicates.append(Duplicate(index, *known[mark], first=firsts.get(mark)))
            continue
        last[new.provider] = last.get(new.provider, 0) + 1
        alias = f"v{last[new.provider]}"
        known[mark], firsts[mark] = (f"{new.provider}/{alias}", False), index
        rows.append((new, alias, mark[1]))
    return rows, tuple(duplicates), last


def texts(rows: Iterable[Row], box: Box) -> list[Text]:
    """What is sealed in rows of (id, provider, secret, proxy). Raises Damaged."""
    return [(str(id), str(provider), *_open(box, str(id), str(provider), *sealed)) for id, provider, *sealed in rows]


def resealed(text: Text, box: Box) -> tuple[bytes, bytes, bytes | None, str]:
    """Arguments of RESEAL."""
    id, provider, secret, proxy = text
    mark = box.fingerprint(secret, provider=provider)
    return mark, box.seal(secret, SECRET, id=id, provider=provider), sealed_proxy(proxy, box, id, provider), id


def sealed_proxy(proxy: str | None, box: Box, id: str, provider: str) -> bytes | None:
    """A key's outbound proxy, sealed, for its URL may hold a password."""
    return None if proxy is None else box.seal(proxy, PROXY, id=id, provider=provider)


def address_of(proxy: str | None) -> str | None:
    """What may be shown of it."""
    return None if proxy is None else str(OutboundProxy.parse(proxy))


def _row(new: NewKey, alias: str, mark: bytes, box: Box) -> dict[str, object]:
    id = secrets.token_hex(8)
    return {
        "id": id,
        "provider": new.provider,
        "alias": alias,
        "kind": new.kind,
        "mask": mask(new.secret),
        "label": new.label,
        "tier": new.tier,
        "group": new.group,
        "weight": new.weight,
        "requests_per_minute": new.limits.requests_per_minute,
        "tokens_per_minute": new.limits.tokens_per_minute,
        "concurrent": new.limits.concurrent,
        "enabled": int(new.enabled),
        "proxy_address": address_of(new.proxy),
        "notes": new.notes,
        "fingerprint": mark,
        "secret": box.seal(new.secret, SECRET, id=id, provider=new.provider),
        "proxy": sealed_proxy(new.proxy, box, id, new.provider),
    }


def _key(row: Row, box: Box) -> Key:
    id, provider, alias, *sealed, tier, weight, label, group, requests, tokens, concurrent, kind = row
    secret, proxy = _open(box, str(id), str(provider), *sealed)
    limits = KeyLimits(*(_whole(limit) for limit in (requests, tokens, concurrent)))
    return Key(
        provider=str(provider),
        alias=str(alias),
        secret=secret,
        id=str(id),
        tier=str(tier),
        weight=float(str(weight)),
        label=str(label),
        group=str(group),
        limits=None if limits == NO_LIMITS else limits,
        proxy=proxy,
        kind=str(kind),
    )


def _open(box: Box, id: str, provider: str, secret: object, proxy: object) -> tuple[str, str | None]:
    text = box.open(secret, SECRET, id=id, provider=provider)
    return text, None if proxy is None else box.open(proxy, PROXY, id=id, provider=provider)


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
