"""One word for one thing: identifiers that the field has another word for do not come back. Prose is free."""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "addon" / "claude_relay"
RETIRED = {
    "rests": "cooldowns",
    "resting": "in_cooldown",
    "rest_until": "cooldown_until",
    "Rest": "Cooldown",
    "Rests": "Cooldowns",
    "rooms": "headroom",
    "Rooms": "Headroom",
    "seating": "affinity",
    "Seating": "Affinity",
    "seat": "binding",
    "seats": "bindings",
    "Seat": "Binding",
    "rested": "cooled_down",
    "Try": "Candidate, AttemptRecord",
    "blame": "cause",
    "Blame": "Cause",
    "trip": "state",
    "Trip": "RetryState",
    "hop": "target",
    "hops": "targets",
    "Hop": "Target",
    "crossing": "adaptation",
    "Crossing": "Adaptation",
    "sharing": "replication",
    "lend": "issue",
    "lent": "issued",
    "Lent": "Issued",
    "told": "reported, given, as_text",
    "asked": "requested, query",
    "sent": "request, dispatched, emitted",
    "tell": "report, notify",
    "tells": "reports",
    "ask": "query, fetch, prompt",
    "asks": "costs",
}
"""And the word that is used."""
FORMATS_OF_USERS = {
    "core/formats/conversation.py",
    "core/formats/claude/reader.py",
    "core/formats/gemini/thinking.py",
    "core/formats/openai/chat_thinking.py",
    "core/formats/openai/families.py",
    "core/formats/openai/responses.py",
}
"""Where `Effort.asked` is, which users' own formats may read."""
OTHERS_NAMES = {"hop_by_hop", "asked", "sent", "headers_sent"}
"""The RFC's word, in lower case; the classes `Asked` and `Sent`, which users' own formats are given and return; h2's."""
PARTS = re.compile(r"(?<![A-Za-z])_*(" + "|".join(sorted(RETIRED, key=len, reverse=True)) + r")(?![A-Za-z])")


def identifiers(text: str) -> Iterator[tuple[str, int]]:
    """The names in a module, also those in f-strings, and their lines."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string, token.start[0]


def is_public(name: str, file: Path) -> bool:
    """Whether it is an attribute that users' own formats may read."""
    return name == "asked" and str(file.relative_to(PACKAGE)) in FORMATS_OF_USERS


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_retired_identifiers_stay_retired(file: Path) -> None:
    found = [
        f"line {line}: {name}: {RETIRED[match[1]]}"
        for name, line in identifiers(file.read_text("utf-8"))
        if (match := PARTS.fullmatch(name)) and not is_public(name, file)
    ]
    assert found == []
    assert file.stem not in RETIRED
    assert file.parent.name not in RETIRED


def test_a_retired_identifier_is_found() -> None:
    names = [name for name, _ in identifiers("hop = f'{binding.rests}'  # hop-by-hop, rests\n_lent = 'trip'\n")]
    assert [name for name in names if PARTS.fullmatch(name)] == ["hop", "rests", "_lent"]


# -- parts of identifiers, and prose

COMPOUND = re.compile(
    r"blamed?|seat(s|ed|ing)?|trips?|lend|lent|rests|rest(ed|ing)|crossing|hops?|loudly|told|tell(s|er|ing)?|ask(s|ed|ing)?|sent"
)
"""Words that come back in no longer name either, as in RouteBlame or say_loudly, but for OTHERS_NAMES."""
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
STALE = re.compile(
    r"(?<![\w.])(rests|rest(ed|ing)|lend(s|ing)?|lent|blam(e|es|ed|ing)|seat(s|ed|ing)?|loudly)(?!\w)", re.IGNORECASE
)
"""What the field has another word for, in prose too: `the rest` of a body and `hop-by-hop` are no such words."""
ROOT = PACKAGE.parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "SECURITY.md", "relay.yaml", "relay.schema.json")),
        *ROOT.glob("docs/*.md"),
        *PACKAGE.rglob("*.json"),
        *FILES,
    ]
)
OLD_TABLE = {"store/db/shared_tables.py": {"rests"}, "store/vault/rows.py": {"rests"}}
"""The table of cooldowns had that name once."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_longer_name_has_a_retired_word_in_it(file: Path) -> None:
    found = {
        name
        for name, _ in identifiers(file.read_text("utf-8"))
        if name.lower() not in OTHERS_NAMES and any(COMPOUND.fullmatch(word.lower()) for word in WORDS.findall(name))
    }
    assert found == set()


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_read_has_no_retired_word(file: Path) -> None:
    allowed = OLD_TABLE.get(str(file.relative_to(PACKAGE)) if file.is_relative_to(PACKAGE) else "", set())
    found = [
        f"line {number}: {match[1]}"
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        for match in STALE.finditer(line)
        if match[1] not in allowed
    ]
    assert found == []


def test_a_retired_word_is_found_in_longer_names_and_in_prose() -> None:
    names = ["RouteBlame", "say_loudly", "_is_resting", "told_apart", "rest", "interest", "nested", "blend", "unsent"]
    assert [name for name in names if any(COMPOUND.fullmatch(word.lower()) for word in WORDS.findall(name))] == names[
        :4
    ]
    assert [match[1] for match in STALE.finditer("A key rests, is lent; the rest, interests, `relay.rests`.")] == [
        "rests",
        "lent",
    ]


# -- names of modules

SAME_NAME = {
    "accounts": "one budget and its period; OAuth accounts in the vault; the command",
    "authority": "the CA itself; the page that gives its certificate out",
    "answers": "of a format; of the made-up Claude",
    "audit": "the command; the audit log",
    "bodies": "in Claude's format; of a request under way; stored ones",
    "capacity": "how long windows last; the command that shows it",
    "clients": "the command; those that a running relay knows",
    "common": "to commands; to OpenAI's two formats",
    "doors": "`listen` and `limits` of relay.yaml; who is let in by them",
    "errors": "the relay's own; what those of providers mean",
    "ledger": "the command; the ledger",
    "models": "of relay.yaml's sections, in pydantic's sense; of Gemini",
    "naming": "of commands; of what a provider takes",
    "notices": "what is worth saying; those that are written down",
    "options": "of `keys`; of `clients`; of mitmproxy",
    "outbound": "the rules of the way out; the same with mitmproxy's connections",
    "reach": "a check of doctor; what a client's routes lead to",
    "records": "of attempts, for the ledger; of keys, for the vault",
    "relay": "the command; the script that it gives to mitmproxy",
    "reprice": "the command; the work",
    "rows": "of one request; of the ledger; of the vault",
    "schema": "of relay.yaml; of Gemini's tools",
    "sessions": "the command; which key a conversation is bound to",
    "sign_in": "rules of codes and tokens; the pages",
    "settings": "those of a capsule; managed ones, at the base URL",
    "state": "of a request's attempts; what relays share",
    "terminal": "of commands; of the log",
    "writer": "of answers; of rows",
}
"""Names of modules that occur in several rooms: their room says which one is meant, and hardly a module needs both."""


def test_a_module_is_called_like_another_for_a_reason() -> None:
    # The panel's rooms call a module by its area: what /api has of it, and its page.
    count = Counter(
        file.stem for file in FILES if file.stem != "__init__" and "claude_relay/panel/" not in file.as_posix()
    )
    assert {name for name, number in count.items() if number > 1} == set(SAME_NAME)
