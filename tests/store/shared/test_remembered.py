"""Names of relay.yaml's keys in the database: remembered for ever, the same for all relays, and of no use for guessing secrets."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from claude_relay.core.config import Provider
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Name, Place
from claude_relay.core.keys.cooldown import begin, to_row
from claude_relay.core.keys.replication import Shared
from claude_relay.store.db import migrations
from claude_relay.store.db.database import StoreError, connect, transaction
from claude_relay.store.db.migrations import MIGRATIONS, migrate, remember_aliases
from claude_relay.store.db.shared_tables import create_key_aliases
from claude_relay.store.shared.fingerprints import SHORT
from claude_relay.store.shared.remembered import Aliases, Unremembered
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from store.rows import request
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")

LONG = "sk-ant-api03-long-enough-to-be-unguessable-{}"
A, B, C, D = map(LONG.format, "abcd")
NOW = 1_795_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def old(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database as the version before left it."""
    with monkeypatch.context() as before, closing(connect(path, patience=1)) as connection:
        before.setattr(migrations, "MIGRATIONS", MIGRATIONS[: MIGRATIONS.index(remember_aliases)])
        migrate(connection)
    return path


def keys(*secrets: str, provider: str = "anthropic") -> tuple[Key, ...]:
    """As relay.yaml has them."""
    return Provider(keys=tuple(map(SecretStr, secrets))).key_list(provider)


def aliases(names: dict[Place, Name], own: Sequence[Key]) -> list[str]:
    return [names[Place(key.provider, key.id)].alias for key in own]


def name(path: Path, *secrets: str, provider: str = "anthropic") -> list[str]:
    """By a relay that has just begun."""
    own = keys(*secrets, provider=provider)
    return aliases(Aliases(path).name(own), own)


def sql(path: Path, text: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(text, values).fetchall()
        connection.commit()
        return found


# --- whose an alias is ---


def test_the_first_keys_are_called_by_their_place(path: Path) -> None:
    assert name(path, A, B) == ["k1", "k2"]
    assert name(path, A, B) == ["k1", "k2"]


def test_a_key_keeps_its_alias_wherever_it_stands(path: Path) -> None:
    assert name(path, A, B, C) == ["k1", "k2", "k3"]
    assert name(path, C, A, B) == ["k3", "k1", "k2"]
    assert name(path, B) == ["k2"]
    assert name(path, D, B) == ["k4", "k2"], "k1 and k3 stay with those that left"
    assert name(path, A, B, C, D) == ["k1", "k2", "k3", "k4"], "and they find them again"


def test_a_removed_key_s_number_is_given_to_nobody(path: Path) -> None:
    name(path, A, B)
    assert name(path) == []
    assert name(path, C) == ["k3"]


def test_each_provider_counts_for_itself(path: Path) -> None:
    assert name(path, A, B) == ["k1", "k2"]
    assert name(path, C, B, provider="glm") == ["k1", "k2"]
    assert name(path, A, provider="glm") == ["k3"], "whatever it is called elsewhere"
    both = (*keys(D, A), *keys(D, provider="glm"))
    assert aliases(Aliases(path).name(both), both) == ["k3", "k1", "k4"]


def test_short_secrets_are_sorted_out_as_well(path: Path) -> None:
    assert name(path, "none", "a", "b") == ["k1", "k2", "k3"]
    assert name(path, "b", "none", "c") == ["k3", "k1", "k4"]


def test_the_vault_counts_beside_it(path: Path) -> None:
    with closing(Vault(path, environ={"RELAY_SECRET": "a secret of the test"})) as vault:
        assert name(path, A) == ["k1"]
        added = vault.import_many([NewKey("anthropic", C), NewKey("glm", C)]).added
        assert [key.name for key in added] == ["anthropic/v1", "glm/v1"]
        assert name(path, B, A) == ["k2", "k1"]
        assert [key.alias for key in vault.add(NewKey("anthropic", D)).added] == ["v2"]
    assert sql(path, "SELECT * FROM aliases ORDER BY provider") == [("anthropic", 2, 2), ("glm", 1, 0)]


def test_relays_that_name_at_once_agree(path: Path) -> None:
    """Each brings the keys in an order of its own, and one that the others lack."""
    lists = [[A, B, C], [C, B, A], [B, D, A], [D, C, LONG.format("e")]]
    together = threading.Barrier(len(lists))

    def start(secrets: list[str]) -> dict[str, str]:
        own, found = keys(*secrets), Aliases(path, patience=PATIENCE)
        together.wait()
        names = found.name(own)
        return dict(zip(secrets, aliases(names, own), strict=True))

    with ThreadPoolExecutor(len(lists)) as threads:
        found = list(threads.map(start, lists))
    known: dict[str, str] = {}
    for names in found:
        assert all(known.get(secret, alias) == alias for secret, alias in names.items())
        known |= names
    assert sorted(known.values()) == ["k1", "k2", "k3", "k4", "k5"]


# --- reading only ---


def test_names_are_foreseen_where_nothing_may_be_written(path: Path) -> None:
    own = keys(A, B)
    found = Aliases(path).foresee(own)
    assert (aliases(found, own), {name.sure for name in found.values()}) == (["k1", "k2"], {False})
    assert not path.exists()
    name(path, A)
    found = Aliases(path).foresee(keys(C, A))
    assert found == Aliases(path).name(keys(C, A)) | {Place("anthropic", keys(C)[0].id): Name("k2", id_of(path, C))}


def id_of(path: Path, secret: str, provider: str = "anthropic") -> str:
    (key,) = keys(secret, provider=provider)
    return Aliases(path).name([key])[Place(provider, key.id)].id


def test_a_database_of_an_earlier_version_is_not_touched_by_looking(old: Path) -> None:
    own = keys(B, A)
    assert aliases(Aliases(old).foresee(own), own) == ["k1", "k2"]
    assert not sql(old, "SELECT 1 FROM sqlite_schema WHERE name = 'key_aliases'")


def test_while_somebody_writes_new_names_are_foreseen(path: Path) -> None:
    name(path, A, B)
    with closing(connect(path, patience=1)) as other, transaction(other):
        assert name(path, B, A) == ["k2", "k1"], "known ones need no writing"
        own = keys(C, A)
        with pytest.raises(Unremembered, match="locked") as caught:
            Aliases(path, patience=0.01).name(own)
        assert aliases(caught.value.foreseen, own) == ["k3", "k1"]
    assert name(path, C, A) == ["k3", "k1"]


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    for ask in (Aliases(path).name, Aliases(path).foresee):
        with pytest.raises(StoreError, match="not a database") as caught:
            ask(keys(A))
        assert not isinstance(caught.value, Unremembered)


# --- what earlier versions stored ---


REQUEST = "INSERT INTO requests (id, started_at, method, path, stream, attempts, finished) VALUES (?, '', '', '', 0, 1, 'complete')"
ATTEMPT = "INSERT INTO attempts (request, n, provider, key, started_at) VALUES (?, ?, ?, ?, '')"


def test_numbers_in_the_ledger_are_given_to_no_new_key(old: Path) -> None:
    row = request()
    sql(old, REQUEST, row.id)
    used = [("anthropic", "k7"), ("anthropic", "k11"), ("anthropic", "v40"), ("anthropic", "k50x"), ("glm", None)]
    for n, (provider, key) in enumerate(used):
        sql(old, ATTEMPT, row.id, n, provider, key)
    assert name(old, A, B) == ["k1", "k2"], "those that are there keep the names by which the ledger knows them"
    assert name(old, C, A, B) == ["k12", "k1", "k2"]
    assert name(old, A, provider="glm") == ["k1"]


def cooldown(key_id: str, until: float, since: float = NOW) -> dict[str, object]:
    row = to_row(begin(until, since, "429", stated=True))
    return {"provider": "anthropic", "key_id": key_id, "scope": "", **row, "lifted": -1.0}


def binding(session: str, key_id: str, home: str) -> dict[str, object]:
    times = {"since": NOW, "used": NOW, "warm": 0.0}
    return {
        "session": session,
        "provider": "anthropic",
        "key_id": key_id,
        "home": home,
        "moves": 1,
        **times,
        "cached": 0,
    }


def test_what_hangs_on_a_key_goes_on_hanging_on_it(old: Path) -> None:
    a, b, c = (key.id for key in keys(A, B, C))
    fill(
        old,
        [cooldown(a, NOW + 900), cooldown(c, NOW + 60)],
        [binding("s", b, a), binding("t", "v", "v")],
        {"file_1": a},
    )
    assert name(old, A, B) == ["k1", "k2"]
    new_a, new_b = id_of(old, A), id_of(old, B)
    assert not {new_a, new_b} & {a, b}
    with closing(State(old)) as state:
        theirs = state.exchange(Shared(), NOW)
        assert {(row["key_id"], row["until"]) for row in theirs.cooldowns} == {(new_a, NOW + 900), (c, NOW + 60)}
        assert {(row["key_id"], row["home"]) for row in theirs.sessions} == {(new_b, new_a), ("v", "v")}
        assert state.resource("file_1", NOW) == ("anthropic", new_a)
    assert name(old, C) == ["k3"]
    assert {key for (key,) in sql(old, "SELECT key_id FROM cooldowns")} == {new_a, id_of(old, C)}


def test_others_hear_of_the_move(old: Path) -> None:
    a = keys(A)[0].id
    fill(old, [cooldown(a, NOW + 900)], [], {})
    with closing(State(old)) as other:
        other.exchange(Shared(), NOW)
        name(old, A)
        assert [row["key_id"] for row in other.exchange(Shared(), NOW).cooldowns] == [id_of(old, A)]


def test_a_relay_of_an_earlier_version_beside_it_stores_more(old: Path) -> None:
    """Two cooldowns of a key become one: the longer one."""
    a = keys(A)[0].id
    name(old, A)
    new = id_of(old, A)
    fill(old, [cooldown(new, NOW + 60), cooldown(a, NOW + 900)], [], {})
    name(old, A)
    assert sql(old, "SELECT key_id, until FROM cooldowns") == [(new, NOW + 900)]


def test_what_nobody_s_key_hangs_on_goes_in_the_end(old: Path) -> None:
    """A key that was out when it left relay.yaml, before its id told nothing of it."""
    gone, mine = keys(B)[0].id, id_of(old, A)
    fill(old, [cooldown(gone, math.inf), cooldown(mine, math.inf)], [], {})
    with closing(State(old)) as state:
        for days, left in ((29, {gone, mine}), (31, {mine})):
            state.prune(NOW + days * 86400, ttl=3600.0, most=10)
            assert {row["key_id"] for row in state.load_cooldowns()} == left


def fill(
    path: Path, cooldowns: list[dict[str, object]], bindings: list[dict[str, object]], made: dict[str, str]
) -> None:
    """As a relay does it."""
    with closing(State(path)) as state:
        state.exchange(Shared(tuple(cooldowns), tuple(bindings)), NOW)
        for resource, key in made.items():
            state.remember_resource(resource, "anthropic", key, NOW + 900)


# --- what can be guessed from it ---


@pytest.mark.parametrize("secret", ["none", "sk-1234", "x" * (SHORT - 1)])
def test_a_short_secret_cannot_be_guessed_cheaply(path: Path, secret: str) -> None:
    """Nothing stored is a hash of it, with or without the salt that lies beside it."""
    name(path, secret)
    (salt,) = sql(path, "SELECT salt FROM key_salt")[0]
    assert isinstance(salt, bytes)
    everything = b"".join(file.read_bytes() for file in path.parent.glob("relay.db*"))
    for guess in (secret, salt.hex() + secret, secret + salt.hex(), f"anthropic{secret}"):
        for text in (guess.encode(), salt + guess.encode(), guess.encode() + salt):
            for algorithm in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                digest = hashlib.new(algorithm, text)
                assert digest.digest()[:8] not in everything
                assert digest.hexdigest()[:16].encode() not in everything
    assert keys(secret)[0].id.encode() not in everything


def test_short_secrets_are_slow_to_try_and_long_ones_quick_to_know(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = []
    real = hashlib.scrypt
    monkeypatch.setattr(hashlib, "scrypt", lambda *given, **more: slow.append(more) or real(*given, **more))
    name(path, A, B)
    assert not slow
    found = Aliases(path)
    for _ in range(3):
        found.name(keys("x" * (SHORT - 1), "y", A))
    assert [(cost["n"], cost["r"]) for cost in slow] == [(16384, 8)] * 2, "once a process for each"


def test_two_databases_have_nothing_in_common(tmp_path: Path) -> None:
    marks = []
    for number in (1, 2):
        path = tmp_path / f"{number}.db"
        name(path, A, "short")
        name(path, A, "short", provider="glm")
        marks += [value for row in sql(path, "SELECT fingerprint, id FROM key_aliases") for value in row]
    assert len(set(marks)) == len(marks) == 16


def test_the_tables_are_made_once(path: Path) -> None:
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            create_key_aliases(connection)
