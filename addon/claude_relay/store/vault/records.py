"""Keys as the vault takes them in, and as it shows them: the nouns and what each field may hold.

    NewKey("anthropic", "sk-ant-api03-…", tier="admin")      goes in; its secret is in no repr
    StoredKey(…).mask                                       -> "sk-ant-…x3Fa"
    StoredKey(…).states(now=1795341600.0)                   -> ("limited", "enabled")

Every check raises ValueError with a sentence that never repeats what it was given. What this module must not know: files,
tables and how a secret is sealed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.core.config.values import provider_name, split_keys, unquoted
from claude_relay.core.exchange import API_KEY, KeyLimits
from claude_relay.core.keys.check_results import CHECKS, LIMITED, UNCHECKED, VALID
from claude_relay.core.keys.selection import TIERS
from claude_relay.core.times import seconds_of

NO_LIMITS = KeyLimits()
LONGEST_SECRET = 4096
SHORTEST_SECRET = 8
"""What is shorter is no key but a slip: a number, a word of a web page."""
MASKED_FROM = 21
SHOWN = 4
PREFIXES = ("sk-ant-", "sk-or-", "sk-proj-", "sk-", "AIza", "gsk_", "xai-")
"""Beginnings that all keys of a provider share, longest first."""
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LIKE_A_KEY = re.compile(rf"(?:{'|'.join(map(re.escape, PREFIXES))})[\w-]{{12,}}", re.ASCII)

STATES = ("enabled", "disabled", "removed", "cooldown", "out", UNCHECKED, *CHECKS)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to keep. Raises ValueError when a field holds what it may not."""

    provider: str
    secret: str = field(repr=False)
    label: str = ""
    tier: str = ""
    weight: float = 1.0
    limits: KeyLimits = NO_LIMITS
    enabled: bool = True
    proxy: str | None = field(default=None, repr=False)
    notes: str = ""
    kind: str = API_KEY
    group: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        provider_name(self.provider)
        check_secret(self.secret)
        for name in ("label", "tier", "group", "weight", "enabled", "proxy", "notes"):
            FIELDS[name](getattr(self, name))
        for name in LIMITS:
            FIELDS[name](getattr(self.limits, name))
        if self.secret in self.label or self.secret in self.notes or self.secret in (self.tier, self.group):
            raise ValueError("the key itself stands in its label, tier, group or notes, which everybody may read")

    @classmethod
    def of(cls, provider: str, secret: str, fields: Mapping[str, object]) -> NewKey:
        """From fields as people write them, all of them names of FIELDS; an empty one means the default."""
        given = {name: FIELDS[name](value) for name, value in fields.items() if value is not None and value != ""}
        limits = KeyLimits(**{name: given.pop(name) for name in LIMITS if name in given})
        return cls(provider, unquoted(secret), limits=limits, **given)


@dataclass(frozen=True, slots=True)
class InCooldown:
    """A cooldown of a key. `scope` empty: the whole key. `until` in seconds since the epoch; math.inf: out."""

    scope: str
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What may be told of a key. Times are UTC ISO 8601.

    source    `vault`, or `relay.yaml` for one that the configuration brings along
    group     keys that are kept for certain clients; empty: for all
    proxy     address of its own outbound proxy, without credential
    attempts  how often it was used, `failures` of them in vain
    chosen    whether it goes before all others of its provider
    """

    id: str
    provider: str
    alias: str
    mask: str
    kind: str = API_KEY
    label: str = ""
    tier: str = ""
    group: str = ""
    weight: float = 1.0
    limits: KeyLimits = NO_LIMITS
    enabled: bool = True
    proxy: str | None = None
    notes: str = ""
    created_at: str | None = None
    removed_at: str | None = None
    checked_at: str | None = None
    check_status: str | None = None
    check_until: str | None = None
    check_reason: str | None = None
    last_used_at: str | None = None
    attempts: int = 0
    failures: int = 0
    cooldowns: tuple[InCooldown, ...] = ()
    source: str = "vault"
    chosen: bool = False

    @property
    def name(self) -> str:
        """`anthropic/v3`."""
        return f"{self.provider}/{self.alias}"

    @property
    def said(self) -> tuple[object, ...]:
        """What people say of it, apart from what is written down of its use."""
        said = [getattr(self.limits if name in LIMITS else self, name) for name in FIELDS]
        return self.id, *said, self.removed_at

    def states(self, now: float) -> tuple[str, ...]:
        """Every word of STATES that is true of it, the weightiest first."""
        own = [cooldown.until for cooldown in self.cooldowns if not cooldown.scope and cooldown.until > now]
        found = {
            "removed": self.removed_at is not None,
            "disabled": not self.enabled,
            "out": math.inf in own,
            "cooldown": bool(own) and math.inf not in own,
            self._checked(now): True,
            "enabled": self.enabled and self.removed_at is None,
        }
        return tuple(word for word, true in found.items() if true)

    def _checked(self, now: float) -> str:
        """What the last check says by now: a limited key is a valid one, and so it is again when the limit is over."""
        until = seconds_of(self.check_until)
        over = self.check_status == LIMITED and until is not None and until <= now
        return VALID if over else self.check_status or UNCHECKED

    def with_cooldowns(self, cooldowns: tuple[InCooldown, ...]) -> StoredKey:
        """The same key with these cooldowns."""
        return replace(self, cooldowns=cooldowns)


def mask(secret: str) -> str:
    """`sk-ant-…x3Fa`; of a short one nothing at all."""
    if len(secret) < MASKED_FROM:
        return "…"
    prefix = next((prefix for prefix in PREFIXES if secret.startswith(prefix)), "")
    return f"{prefix}…{secret[-SHOWN:]}"


def check_secret(secret: str) -> str:
    """A key as it can stand in a header."""
    if split_keys([secret]) != (secret,):
        raise ValueError("a key has no blanks, line ends or commas in it; copy it again, or use import for several")
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise ValueError(f"a key has {SHORTEST_SECRET} to {LONGEST_SECRET} characters; copy it again")
    return secret


def _open_text(name: str, text: str) -> str:
    """A text that everybody may read; a file whose columns are mixed up must not put keys there."""
    if _LIKE_A_KEY.search(text):
        raise ValueError(f"{name}: this looks like a key, and everybody may read it; are two columns mixed up?")
    return text


def _line(name: str, longest: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = str(value).strip() if isinstance(value, str | int) else None
        if text is None or len(text) > longest or not text.isprintable():
            raise ValueError(f"{name} is one line of at most {longest} printable characters")
        return _open_text(name, text)

    return check


def _tier(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else "?"
    if word and word not in TIERS:
        raise ValueError(f"tier is {' or '.join(TIERS)}, or nothing for the usual one between them")
    return word


def _group(value: object) -> str:
    word = value.strip() if isinstance(value, str) else "?"
    if word and not _GROUP.fullmatch(word):
        raise ValueError("group is a word of at most 64 letters, digits, '.', '_' and '-', or nothing for none")
    return _open_text("group", word)


def _notes(value: object) -> str:
    if not isinstance(value, str) or len(value) > 2000 or not value.replace("\n", " ").isprintable():
        raise ValueError("notes are at most 2000 printable characters")
    return _open_text("notes", value)


def _weight(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 1_000_000.0:  # also turns `nan` away
        raise ValueError("weight is a number over 0, at most 1000000; disable a key that nobody should get")
    return number


def _most(name: str) -> Callable[[object], int | None]:
    def check(value: object) -> int | None:
        if value is None:
            return None
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,11}", text):
            raise ValueError(f"{name} is a whole number from 1 to 999999999999, or nothing for no limit")
        return int(text)

    return check


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    known = words.get(str(value).strip().lower())
    if known is None:
        raise ValueError("enabled is true or false")
    return known


def _proxy(value: object) -> str | None:
    if value is None:
        return None
    try:
        OutboundProxy.parse(value)
    except ValueError as error:
        raise ValueError(f"proxy {error}") from None
    return str(value).strip()


LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
FIELDS: dict[str, Callable[[object], Any]] = {
    "label": _line("label", 200),
    "tier": _tier,
    "group": _group,
    "weight": _weight,
    **{name: _most(name) for name in LIMITS},
    "enabled": _flag,
    "proxy": _proxy,
    "notes": _notes,
}
"""What people may say about a key, and the check that turns it into a value."""
