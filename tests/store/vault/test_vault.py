from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Key, KeyLimits
from claude_relay.core.keys.check_results import CHECKS, CheckResult
from claude_relay.store.db.database import connect
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.shared.state import State
from claude_relay.store.vault import file as vaultfile
from claude_relay.store.vault import lock as locking
from claude_relay.store.vault.records import FIELDS, STATES, NewKey, StoredKey, mask
from claude_relay.store.vault.sealing import unlock
from claude_relay.store.vault.secret import SecretFile
from claude_relay.store.vault.vault import SecretMissing, Vault, VaultError, WrongSecret
from store.rows import attempt, request
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")

SECRET = "correct horse battery staple"
PACKAGE = str(Path(vaultfile.__file__).parents[3])


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own keyring gets a test's secrets."""
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def vault(path: Path) -> Iterator[Vault]:
    with closing(Vault(path, environ={})) as vault:
        yield vault


def key(n: int, provider: str = "anthropic", **fields: object) -> NewKey:
    return NewKey(provider, f"sk-ant-api03-{n:08d}-secret", **fields)


def issued(vault: Vault) -> dict[str, dict[str, str]]:
    """Provider → alias → secret."""
    return {name: {key.alias: key.secret for key in keys} for name, keys in vault.issue().items()}


def ids(vault: Vault, *aliases: str) -> list[str]:
    return [key.id for key in vault.list() if key.alias in aliases]


def sql(path: Path, statement: str, *arguments: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, arguments).fetchall()


# -- in and out


def test_a_vault_that_is_not_there_is_empty_and_stays_so(vault: Vault, path: Path) -> None:
    assert (vault.list(), vault.issue(), vault.changed(), vault.inspect().keys) == ((), {}, 0, 0)
    assert list(path.parent.iterdir()) == []


def test_a_ledger_without_keys_is_an_empty_vault_and_needs_no_secret(vault: Vault, path: Path) -> None:
    with closing(connect(path, patience=1)) as connection:
        connection.execute("CREATE TABLE other (x)")
    assert (vault.list(), vault.issue(), vault.changed()) == ((), {}, 0)
    vault.disable(["none"])  # makes the tables
    assert (vault.issue(), vault.inspect().keys) == ({}, 0)
    assert not SecretFile(path).path.exists()


def test_what_goes_in_comes_out(vault: Vault) -> None:
    limits = KeyLimits(requests_per_minute=60, concurrent=4)
    new = key(1, label="team a", tier="admin", weight=2.5, limits=limits, proxy="http://u:pw@h:8", notes="mine")
    done = vault.add(new)
    assert vault.issue() == {
        "anthropic": (
            Key(
                "anthropic",
                "v1",
                new.secret,
                done.added[0].id,
                tier="admin",
                weight=2.5,
                label="team a",
                limits=limits,
                proxy="http://u:pw@h:8",
            ),
        )
    }
    [stored] = vault.list()
    assert stored == done.added[0]
    assert (stored.mask, stored.proxy, stored.notes, stored.enabled) == ("sk-ant-…cret", "http://h:8", "mine", True)
    assert stored.created_at.endswith("Z")
    assert vault.issue()["anthropic"][0] != replace(vault.issue()["anthropic"][0], proxy=None)


SECRETS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",\"'`"), min_size=8, max_size=300
)
LINES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=7)
NUMBERS = st.none() | st.integers(1, 10**11)
KEYS = st.builds(
    NewKey,
    provider=st.sampled_from(["anthropic", "glm", "A.b-c_d"]),
    secret=SECRETS.filter(lambda secret: "placeholder" not in secret.lower()),
    label=LINES,
    tier=st.sampled_from(["", "admin", "public"]),
    group=st.sampled_from(["", "research", "Team-1.b_c"]),
    weight=st.floats(0.001, 1e6),
    limits=st.builds(KeyLimits, NUMBERS, NUMBERS, NUMBERS),
    enabled=st.booleans(),
    proxy=st.sampled_from([None, "http://h:1", "https://user:p%20w@[::1]:8443"]),
    notes=LINES,
)


@settings(max_examples=20, deadline=None)
@given(st.lists(KEYS, max_size=8))
def test_whatever_is_stored_comes_back(news: list[NewKey]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(Path(folder, "relay.db"), environ={})
        done = vault.import_many(news)
        taken = {duplicate.index for duplicate in done.duplicates}
        kept = [new for n, new in enumerate(news) if n not in taken]
        assert len({(new.provider, new.secret) for new in news}) == len(kept) == len(done.added)
        for _ in range(2):
            out = [key for keys in vault.issue().values() for key in keys]
            assert sorted(map(_fields, out), key=repr) == sorted(
                (_fields(new) for new in kept if new.enabled), key=repr
            )
            vault.rotate_secret()
        told = [(it.label, it.tier, it.weight, it.limits, it.enabled, it.notes) for it in vault.list()]
        assert sorted(told, key=repr) == sorted(
            ((new.label, new.tier, new.weight, new.limits, new.enabled, new.notes) for new in kept), key=repr
        )
        assert vault.import_many(news).added == ()


def _fields(key: Key | NewKey) -> tuple[object, ...]:
    return key.provider, key.secret, key.label, key.tier, key.group, key.weight, key.limits or KeyLimits(), key.proxy


def test_duplicates_are_told_and_change_nothing(vault: Vault) -> None:
    vault.add(key(1, label="first"))
    vault.remove(ids(vault, "v1"))
    done = vault.import_many([key(1, label="again"), key(2), key(2), key(1, "glm")])
    assert [(it.index, it.name, it.removed) for it in done.duplicates] == [
        (0, "anthropic/v1", True),
        (2, "anthropic/v2", False),
    ]
    assert [key.name for key in done.added] == ["anthropic/v2", "glm/v1"]
    assert vault.list()[0].label == "first"


def test_aliases_are_never_given_twice(vault: Vault) -> None:
    vault.import_many([key(1), key(2), key(3, "glm")])
    assert len(vault.erase(ids(vault, "v2"))) == 1
    vault.import_many([key(2), key(4)])
    assert [key.name for key in vault.list()] == ["anthropic/v1", "anthropic/v3", "anthropic/v4", "glm/v1"]


def test_thousands_at_once(vault: Vault) -> None:
    done = vault.import_many([key(n) for n in range(5000)])
    assert (len(done.added), done.added[-1].alias) == (5000, "v5000")
    assert len(vault.issue()["anthropic"]) == 5000


def test_all_or_nothing(vault: Vault, path: Path) -> None:
    vault.add(key(1))
    sql(path, "CREATE TRIGGER full BEFORE INSERT ON keys WHEN new.alias = 'v50' BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(VaultError, match="full"):
        vault.import_many([key(n) for n in range(100)])
    assert [key.alias for key in vault.list()] == ["v1"]


# -- nothing in the open


def test_no_file_holds_a_key_or_a_password(vault: Vault, path: Path) -> None:
    vault.import_many([key(n, proxy="http://user:hunter2-hunter2@h:1") for n in range(20)])
    vault.record({id: CheckResult("valid") for id in ids(vault, "v1", "v2")})
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"http://h:1" in held
    assert b"-secret" not in held
    assert b"hunter2" not in held


def test_nothing_shows_a_key(vault: Vault, path: Path) -> None:
    new = key(1, proxy="http://u:hunter2@h:1")
    vault.add(new)
    sql(path, "UPDATE vault SET check_value = zeroblob(32)")
    with pytest.raises(WrongSecret) as caught:
        vault.issue()
    shown = [repr(new), repr(vault.list()), repr(caught.value), str(caught.value), repr(vars(vault))]
    file_secret = SecretFile(path).path.read_text().split()[-1]
    assert not any(word in text for text in shown for word in (new.secret, new.secret[-10:], "hunter2", file_secret))


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk-ant-api03-abcdefghx3Fa", "sk-ant-…x3Fa"),
        ("sk-proj-abcdefghijklmnop", "sk-proj-…mnop"),
        ("AIzaSyA1234567890abcdef", "AIza…cdef"),
        ("a" * 21, "…aaaa"),
        ("sk-ant-0123456789abc", "…"),
        ("12345678", "…"),
    ],
)
def test_masks(secret: str, shown: str) -> None:
    assert mask(secret) == shown


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"secret": "two words and more"}, "no blanks"),
        ({"secret": "a,b,c,d,e,f,g"}, "no blanks"),
        ({"secret": "schlüssel-nummer-1"}, "plain ASCII"),
        ({"secret": "sk-ant-placeholder-relay"}, "placeholder"),
        ({"secret": "short"}, "8 to 4096"),
        ({"secret": "x" * 4097}, "8 to 4096"),
        ({"secret": "sk-ant-0123456789\n"}, "no blanks"),
        ({"provider": "no/slash"}, "provider"),
        ({"label": "two\nlines"}, "label"),
        ({"label": "\x1b[31mred"}, "label"),
        ({"label": "it is 0123456789", "secret": "0123456789"}, "stands in its label"),
        ({"notes": "it is 0123456789", "secret": "0123456789"}, "stands in its label"),
        ({"label": "of old: sk-ant-api03-AbCdEf0123"}, "label: this looks like a key"),
        ({"notes": "of old:\nAIzaSyA1234567890abcdef"}, "notes: this looks like a key"),
        ({"tier": "two words"}, "tier"),
        ({"tier": "other"}, "tier"),
        ({"group": "two words"}, "group"),
        ({"group": "-x"}, "group"),
        ({"group": "sk-ant-api03-0123456789"}, "group"),
        ({"weight": 0.0}, "weight"),
        ({"weight": math.nan}, "weight"),
        ({"weight": math.inf}, "weight"),
        ({"limits": KeyLimits(concurrent=0)}, "concurrent"),
        ({"proxy": "socks4://h:1"}, "SOCKS"),
        ({"proxy": "h:1"}, "proxy must be a URL"),
    ],
)
def test_what_cannot_be_a_key(fields: dict[str, object], said: str) -> None:
    given = {"provider": "p", "secret": "sk-ant-0123456789", **fields}
    with pytest.raises(ValueError, match=said) as caught:
        NewKey(**given)
    assert given["secret"].strip() not in str(caught.value)


# -- tampering


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tampering_is_found_and_costs_no_other_key(data: st.DataObject) -> None:
    column = data.draw(st.sampled_from(["secret", "proxy"]))
    place, other = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "relay.db")
        vault = filled(path)
        [(sealed,)] = sql(path, f"SELECT {column} FROM keys WHERE alias = 'v2'")
        place = place % len(sealed)
        changed = sealed[:place] + bytes([sealed[place] ^ other]) + sealed[place + 1 :]
        sql(path, f"UPDATE keys SET {column} = ? WHERE alias = 'v2'", changed)
        assert list(issued(vault)["anthropic"]) == ["v1", "v3"]
        assert vault.damaged == ("anthropic/v2",)


TEMPLATE: list[Path] = []


def filled(path: Path) -> Vault:
    """A vault with three keys; made once and copied."""
    if not TEMPLATE or not TEMPLATE[0].exists():
        folder = Path(tempfile.mkdtemp())
        first = Vault(folder / "relay.db", environ={})
        first.import_many([key(n, proxy=f"http://u:{n}@h:1") for n in (1, 2, 3)])
        sql(folder / "relay.db", "PRAGMA wal_checkpoint(TRUNCATE)")
        TEMPLATE[:] = [folder]
    for name in ("relay.db", "relay.db.secret"):
        shutil.copy(TEMPLATE[0] / name, path.with_name(name))
    return Vault(path, environ={})


@pytest.fixture(autouse=True, scope="module")
def tidy():
    yield
    while TEMPLATE:  # tests that run side by side come and go: this may happen more than once
        shutil.rmtree(TEMPLATE.pop())


@pytest.mark.parametrize("column", ["secret", "proxy"])
def test_a_damaged_key_is_erased_before_the_secret_can_be_changed(path: Path, column: str) -> None:
    vault = filled(path)
    sql(path, f"UPDATE keys SET {column} = zeroblob(60) WHERE alias = 'v2'")
    assert vault.inspect().damaged == ("anthropic/v2",)
    with pytest.raises(VaultError, match=r"anthropic/v2 .*--forever"):
        vault.rotate_secret()
    assert list(issued(vault)["anthropic"]) == ["v1", "v3"]
    vault.erase(ids(vault, "v2"))
    vault.rotate_secret()
    assert (list(issued(vault)["anthropic"]), vault.damaged) == (["v1", "v3"], ())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keys SET provider = 'glm' WHERE alias = 'v2'",
        "UPDATE keys SET id = 'another' WHERE alias = 'v2'",
        "UPDATE keys SET secret = (SELECT secret FROM keys WHERE alias = 'v1') WHERE alias = 'v2'",
        "UPDATE keys SET secret = proxy WHERE alias = 'v2'",
        "UPDATE keys SET proxy = secret WHERE alias = 'v2'",
        "UPDATE keys SET proxy = (SELECT proxy FROM keys WHERE alias = 'v1') WHERE alias = 'v2'",
        "UPDATE keys SET secret = 'sk-ant-in-the-open' WHERE alias = 'v2'",
        "UPDATE keys SET secret = 7 WHERE alias = 'v2'",
        "UPDATE keys SET secret = x'' WHERE alias = 'v2'",
        "UPDATE keys SET concurrent = 'many' WHERE alias = 'v2'",
        "UPDATE keys SET weight = 'heavy' WHERE alias = 'v2'",
    ],
)
def test_swapped_and_replaced_texts_are_found(path: Path, statement: str) -> None:
    vault = filled(path)
    sql(path, statement)
    vault.issue()
    assert len(vault.damaged) == 1
    assert vault.damaged[0].endswith("/v2")
    assert [key.alias for keys in vault.issue().values() for key in keys] == ["v1", "v3"]


@pytest.mark.parametrize("change", ["kdf = 'scrypt:2:8:1'", "salt = x'00'", "place = 'cloud'", "kdf = NULL"])
def test_a_damaged_lock_is_told(path: Path, change: str) -> None:
    vault = filled(path)
    sql(path, f"UPDATE vault SET {change}")
    with pytest.raises(VaultError):
        vault.issue()
    assert len(vault.list()) == 3


# -- the secret


def test_a_lost_secret_breaks_nothing_else(path: Path) -> None:
    vault = filled(path)
    SecretFile(path).path.unlink()
    for use in (vault.issue, lambda: vault.add(key(9)), vault.rotate_secret):
        with pytest.raises(SecretMissing, match=r"relay\.db\.secret does not hold it – bring it back; .*--forever"):
            use()
    assert not SecretFile(path).path.exists()
    assert vault.inspect().problem.startswith("The secret that opens the keys")
    assert vault.disable(ids(vault, "v1"))
    assert vault.remove(ids(vault, "v2"))
    assert vault.edit(ids(vault, "v1"), {"tier": "admin", "proxy": None})
    vault.record({ids(vault, "v1")[0]: CheckResult("revoked")})
    assert [key.states(0)[-1] for key in vault.list()] == ["revoked", "unchecked", "enabled"]
    vault.erase([key.id for key in vault.list()])
    assert vault.issue() == {}
    vault.add(key(1))
    assert issued(vault) == {"anthropic": {"v4": key(1).secret}}


def test_the_variable(path: Path) -> None:
    vault = Vault(path, environ={"RELAY_SECRET": SECRET})
    vault.import_many([key(1), key(2)])
    assert not SecretFile(path).path.exists()
    assert len(Vault(path, environ={"RELAY_SECRET": SECRET}).issue()["anthropic"]) == 2
    with pytest.raises(SecretMissing, match="RELAY_SECRET is not set"):
        Vault(path, environ={}).issue()
    with pytest.raises(WrongSecret, match=r"RELAY_SECRET is not the secret .* rotate-secret") as caught:
        Vault(path, environ={"RELAY_SECRET": "another one altogether"}).issue()
    assert isinstance(caught.value, RelayError)
    assert (caught.value.status, caught.value.final) == (503, True)


def test_a_secret_is_tried_once_however_often_one_looks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Vault(path, environ={"RELAY_SECRET": SECRET}).add(key(1))
    tried: list[str] = []
    monkeypatch.setattr(locking, "unlock", lambda lock, secret: tried.append(secret) or unlock(lock, secret))
    environ = {"RELAY_SECRET": "another one altogether"}
    vault = Vault(path, environ=environ)
    for _ in range(3):
        with pytest.raises(WrongSecret):
            vault.issue()
    environ["RELAY_SECRET"] = SECRET
    for _ in range(3):
        assert len(vault.issue()) == 1
    assert tried == ["another one altogether", SECRET]


def test_a_variable_that_anybody_guesses(path: Path) -> None:
    with pytest.raises(VaultError, match="16 characters or more"):
        Vault(path, environ={"RELAY_SECRET": "hunter2"}).add(key(1))
    assert Vault(path, environ={}).list() == ()


def test_a_variable_that_comes_later_changes_nothing_until_it_is_asked_to(path: Path) -> None:
    filled(path)
    vault = Vault(path, environ={"RELAY_SECRET": SECRET})
    assert len(vault.issue()["anthropic"]) == 3
    assert vault.rotate_secret() == "environment"
    assert not SecretFile(path).path.exists()
    assert len(vault.issue()["anthropic"]) == 3
    assert vault.rotate_secret("file") == "file"
    assert len(Vault(path, environ={}).issue()["anthropic"]) == 3


def test_a_new_secret_for_the_variable(path: Path) -> None:
    vault = Vault(path, environ={"RELAY_SECRET": SECRET})
    vault.add(key(1))
    assert vault.rotate_secret(secret=SECRET[::-1]) == "environment"
    with pytest.raises(WrongSecret):
        vault.issue()
    assert issued(Vault(path, environ={"RELAY_SECRET": SECRET[::-1]})) == {"anthropic": {"v1": key(1).secret}}


def test_rotation_leaves_nothing_of_the_old(path: Path) -> None:
    vault = filled(path)
    vault.remove(ids(vault, "v2"))
    before, sealed = SecretFile(path).path.read_bytes(), sql(path, "SELECT fingerprint, secret, proxy FROM keys")
    vault.rotate_secret()
    now = SecretFile(path).path.read_bytes()
    assert before.split()[-1] not in now
    assert len(now.splitlines()) == len(before.splitlines())
    held = b"".join(
        path.with_name(name).read_bytes() for name in ("relay.db", "relay.db-wal") if path.with_name(name).exists()
    )
    assert not any(part in held for row in sealed for part in row)
    vault.restore(ids(vault, "v2"))
    assert issued(vault)["anthropic"] == {f"v{n}": key(n).secret for n in (1, 2, 3)}
    assert vault.add(key(2)).duplicates


def images(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[Path]:
    """What a process that is killed would leave: the files before every statement and every change of the secret file, if they differ."""
    taken: dict[tuple[bytes | None, ...], Path] = {}
    names = ("relay.db", "relay.db-wal", "relay.db.secret")

    def take(*_: object) -> None:
        held = tuple(file.read_bytes() if (file := path.with_name(name)).exists() else None for name in names)
        if held in taken:
            return
        copy = folder / str(len(taken))
        copy.mkdir()
        for name, data in zip(names, held, strict=True):
            if data is not None:
                (copy / name).write_bytes(data)
        taken[held] = copy / "relay.db"

    def watched(*arguments: object, **more: object) -> sqlite3.Connection:
        connection = connect(*arguments, **more)
        connection.set_trace_callback(take)
        return connection

    def replaced(*arguments: str) -> None:
        take()
        os.rename(*arguments)
        take()

    monkeypatch.setattr(vaultfile, "connect", watched)
    monkeypatch.setattr(os, "replace", replaced)
    work()
    take()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "keyring", None)
    return list(taken.values())


def test_a_rotation_that_is_killed_leaves_every_key_readable(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = filled(path)
    found = images(path, tmp_path, monkeypatch, vault.rotate_secret)
    for image in found:
        assert issued(Vault(image, environ={}))["anthropic"] == {f"v{n}": key(n).secret for n in (1, 2, 3)}, image
    locks = {sql(image, "SELECT secret_id FROM vault")[0] for image in found}
    secrets = {SecretFile(image).path.read_bytes() for image in found}
    assert (len(locks), len(secrets)) == (2, 3)  # old; old and new; new


def test_a_first_key_that_is_killed_is_there_or_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(path, environ={})
    found = images(path, tmp_path, monkeypatch, lambda: vault.add(key(1)))
    for image in found:
        again = Vault(image, environ={})
        assert issued(again) in ({}, {"anthropic": {"v1": key(1).secret}})
        again.add(key(2))
        assert key(2).secret in issued(again)["anthropic"].values()


def test_rotations_and_imports_at_once(path: Path) -> None:
    filled(path)
    barrier = threading.Barrier(4)

    def work(n: int) -> None:
        vault = Vault(path, environ={}, patience=PATIENCE)
        barrier.wait(PATIENCE)
        for round in range(4):
            if n < 2:
                vault.rotate_secret()
            else:
                vault.add(key(100 * n + round))
            vault.issue()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, n) for n in range(4)]:
            done.result()
    vault = Vault(path, environ={})
    assert len(issued(vault)["anthropic"]) == 3 + 8
    assert len([line for line in SecretFile(path).path.read_text().splitlines() if not line.startswith("#")]) == 1


ADD = """
import sys
from pathlib import Path
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
vault = Vault(Path(sys.argv[1]), environ={}, patience=60.0)
print("ready", flush=True)
sys.stdin.readline()
vault.import_many([NewKey("anthropic", f"sk-ant-{sys.argv[2]}-{n:08d}") for n in range(50)])
"""


def test_processes_that_add_the_first_keys_at_once(path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(path), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": PACKAGE, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
        )
        for n in range(2)
    ]
    watching = Vault(path, environ={})
    assert watching.changed() == 0
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in started] == [("", 0)] * 2
    assert watching.changed() != 0
    assert len(set(issued(watching)["anthropic"].values())) == 100
    watching.close()


# -- changes


def test_changed_tells_every_change_of_what_is_lent_and_nothing_else(path: Path) -> None:
    vault, elsewhere = filled(path), Vault(path, environ={})
    seen = {vault.changed()}
    id = ids(vault, "v1")
    changes: list[Callable[[], object]] = [
        lambda: elsewhere.add(key(9)),
        lambda: elsewhere.disable(id),
        lambda: vault.enable(id),
        lambda: vault.edit(id, {"tier": "public"}),
        lambda: elsewhere.remove(id),
        lambda: elsewhere.restore(id),
        lambda: vault.rotate_secret(),
        lambda: sql(path, "UPDATE keys SET weight = 3 WHERE alias = 'v1'"),
        lambda: elsewhere.erase(id),
    ]
    for change in changes:
        change()
        assert vault.changed() not in seen, change
        seen.add(vault.changed())
    now = vault.changed()
    vault.record({ids(vault, "v2")[0]: CheckResult("valid")})
    vault.edit(ids(vault, "v2"), {"notes": "hello"})
    assert vault.enable(ids(vault, "v2")) == ()
    sql(path, "CREATE TABLE other (x)")
    assert vault.changed() == now
    vault.close()
    elsewhere.close()


def test_changed_tells_a_file_put_in_the_place_of_the_other(path: Path, tmp_path: Path) -> None:
    vault = filled(path)
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)
    vault.add(key(9))
    before = vault.changed()
    vault.close()
    for name in ("relay.db-wal", "relay.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    os.replace(backup, path)
    assert vault.changed() not in (0, before)
    path.unlink()
    assert vault.changed() == 0


def test_looking_is_cheap(path: Path) -> None:
    vault = filled(path)
    vault.changed()
    statements: list[str] = []
    vault._watch._connection.set_trace_callback(statements.append)
    vault.changed()
    assert statements == ["PRAGMA data_version"]
    vault.close()


# -- switching, checking, resting


def test_switches(path: Path) -> None:
    vault = filled(path)
    first, second = ids(vault, "v1"), ids(vault, "v2")
    assert vault.disable(first + second) == tuple(first + second)
    assert vault.disable(first) == ()
    assert list(issued(vault)["anthropic"]) == ["v3"]
    assert vault.enable([*first, "nobody"]) == tuple(first)
    assert vault.remove(first) == tuple(first)
    assert vault.list()[0].removed_at is not None
    assert list(issued(vault)["anthropic"]) == ["v3"]
    assert vault.restore(first) == tuple(first)
    assert vault.restore(first) == ()
    assert list(issued(vault)["anthropic"]) == ["v1", "v3"]
    assert vault.issue(only=second)["anthropic"][0].alias == "v2"
    assert vault.erase(first) == tuple(first)
    assert vault.erase(first) == ()
    assert [key.alias for key in vault.list()] == ["v2", "v3"]


def test_editing(path: Path) -> None:
    vault = filled(path)
    changed = vault.edit(
        ids(vault, "v1"), {"label": " new ", "weight": "2", "concurrent": 3, "proxy": "http://x:hunter2@other:9"}
    )
    assert changed == tuple(ids(vault, "v1"))
    stored = vault.list()[0]
    assert (stored.label, stored.weight, stored.limits, stored.proxy) == (
        "new",
        2.0,
        KeyLimits(concurrent=3),
        "http://other:9",
    )
    assert vault.issue()["anthropic"][0].proxy == "http://x:hunter2@other:9"
    vault.edit(ids(vault, "v1"), {"proxy": None, "concurrent": None})
    assert (vault.issue()["anthropic"][0].proxy, vault.list()[0].proxy) == (None, None)
    assert vault.issue()["anthropic"][0].limits is None
    assert vault.edit(["nobody"], {"tier": "admin"}) == ()
    with pytest.raises(ValueError, match="weight"):
        vault.edit(ids(vault, "v1"), {"weight": 0})
    with pytest.raises(KeyError):
        vault.edit(ids(vault, "v1"), {"secret = ''; --": "x"})
    assert set(FIELDS) <= {"label", "tier", "group", "weight", "enabled", "proxy", "notes"} | set(KeyLimits.__slots__)


def test_relays_see_a_key_change_its_group(vault: Vault) -> None:
    vault.import_many([key(1, group="research"), key(2)])
    before = vault.changed()
    assert [it.group for it in vault.issue()["anthropic"]] == [it.group for it in vault.list()] == ["research", ""]
    vault.edit(ids(vault, "v2"), {"group": "ops"})
    assert vault.changed() != before
    assert [it.group for it in vault.issue()["anthropic"]] == ["research", "ops"]
    vault.edit(ids(vault, "v1", "v2"), {"group": ""})
    assert {it.group for it in vault.issue()["anthropic"]} == {""}
    vault.close()


def test_keys_of_an_earlier_version_are_of_no_group(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only looks migrates nothing."""
    filled(path)
    for statement in (
        "DROP TRIGGER keys_changed",
        "ALTER TABLE keys DROP COLUMN key_group",
        "CREATE TRIGGER keys_changed AFTER UPDATE OF weight ON keys BEGIN UPDATE vault SET generation = random(); END",
        "DELETE FROM _sqlite_migrations WHERE name = 'add_key_groups'",
    ):
        sql(path, statement)
    vault = Vault(path, environ={})
    assert {key.group for key in vault.list()} == {""}
    assert {key.group for keys in vault.issue().values() for key in keys} == {""}
    assert vault.inspect().damaged == ()
    vault.edit(ids(vault, "v1"), {"group": "research"})  # what writes, does
    assert "research" in {key.group for key in vault.list()}


def test_counters_come_from_the_ledger(path: Path) -> None:
    vault = filled(path)
    before = vault.changed()
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    row, other = request(), request()
    ledger.put(row, [attempt(row, 1, key="v1", verdict="rate_limited"), attempt(row, 2, key="v2", verdict="ok")])
    ledger.put(row, [attempt(row, 1, key="v1", verdict="rate_limited")])
    ledger.put(other, [attempt(other, 1, key="v1", verdict="ok"), attempt(other, 2, key="v1", provider="glm")])
    ledger.put(other, [attempt(other, 3, key=None)])
    ledger.close()
    assert [(key.attempts, key.failures) for key in vault.list()] == [(2, 1), (1, 0), (0, 0)]
    assert vault.list()[0].last_used_at == sql(path, "SELECT started_at FROM requests")[0][0]
    assert vault.list()[2].last_used_at is None
    assert vault.changed() == before
    vault.close()


def cool_down(path: Path, key_id: str, until: float, scope: str = "", reason: str = "429") -> None:
    state = State(path)
    row = {"provider": "anthropic", "key_id": key_id, "scope": scope, "since": 10.0, "until": until, "opens": until}
    state.save_cooldowns([row | {"careful": 0, "stated": 1, "streak": 0, "reason": reason, "lifted": -1.0}])
    state.close()


def test_cooldowns_are_shown_and_lifted_for_all_processes(path: Path) -> None:
    vault = filled(path)
    first, second = ids(vault, "v1")[0], ids(vault, "v2")[0]
    assert vault.reset([first]) == 0  # nobody writes cooldowns yet
    cool_down(path, first, 100.0)
    cool_down(path, first, 200.0, "model:claude-x", "403")
    cool_down(path, second, None)
    keys = vault.list()
    assert [(it.scope, it.until, it.reason) for it in keys[0].cooldowns] == [
        ("", 100.0, "429"),
        ("model:claude-x", 200.0, "403"),
    ]
    assert (keys[0].states(50.0)[0], keys[0].states(150.0)[0]) == ("cooldown", "unchecked")
    assert keys[1].states(50.0)[0] == "out"
    state = State(path)
    seen = state.changed()
    began = time.time()
    assert vault.reset([first, "nobody"]) == 2
    assert vault.list()[0].cooldowns == ()
    assert all(began <= row["lifted"] <= time.time() for row in state.load_cooldowns(seen)), (
        "also what is not written yet"
    )
    assert vault.list()[1].cooldowns
    assert vault.reset([]) == 0
    state.close()


def test_cooldowns_of_an_earlier_version_are_shown_before_a_relay_has_run(path: Path) -> None:
    """Who only reads migrates nothing, so their table still has its other name."""
    vault = filled(path)
    [first] = ids(vault, "v1")
    cool_down(path, first, 100.0)
    for statement in (
        "ALTER TABLE cooldowns RENAME TO rests",
        "DROP INDEX cooldowns_by_change",
        "CREATE INDEX rests_by_change ON rests (changed)",
        "DELETE FROM _sqlite_migrations WHERE name = 'rename_cooldowns'",
    ):
        sql(path, statement)
    [found] = vault.list()[0].cooldowns
    assert (found.scope, found.until, found.reason) == ("", 100.0, "429")
    assert vault.cooldowns() == {("anthropic", first): (found,)}
    assert vault.reset([first]) == 1  # what writes brings the file up to date
    assert vault.list()[0].cooldowns == ()
    assert sql(path, "SELECT count(*) FROM cooldowns") == [(1,)]


def test_a_valid_key_is_no_longer_out_but_stays_in_cooldown(path: Path) -> None:
    vault = filled(path)
    first, second, third = (ids(vault, alias)[0] for alias in ("v1", "v2", "v3"))
    cool_down(path, first, None)
    cool_down(path, first, None, "model:claude-x")
    cool_down(path, second, 100.0)
    cool_down(path, third, None)
    vault.record({first: CheckResult("valid"), second: CheckResult("valid"), third: CheckResult("revoked")})
    assert [[(it.scope, it.until) for it in key.cooldowns] for key in vault.list()] == [
        [("model:claude-x", math.inf)],
        [("", 100.0)],
        [("", math.inf)],
    ]


def test_checks_are_kept(path: Path) -> None:
    vault = filled(path)
    first, second, third = (ids(vault, alias)[0] for alias in ("v1", "v2", "v3"))
    vault.record({first: CheckResult("limited", 1000.0, "429: slow down"), second: CheckResult("revoked", None, "401")})
    one, two, three = vault.list()
    assert (one.check_status, one.check_until, one.check_reason) == (
        "limited",
        "1970-01-01T00:16:40.000Z",
        "429: slow down",
    )
    assert (one.states(999.0)[0], one.states(1001.0)[0]) == ("limited", "valid")
    assert (two.states(0.0)[0], three.states(0.0)[0]) == ("revoked", "unchecked")
    assert one.checked_at.endswith("Z")
    assert three.checked_at is None
    assert vault.prune([first, second, third], ["revoked"]) == (second,)
    assert vault.prune([first, second, third], ["revoked"]) == ()
    assert vault.list()[1].removed_at is not None


def test_states_are_the_words_that_are_known() -> None:
    for status in (None, *CHECKS):
        for enabled in (True, False):
            stored = StoredKey("1", "p", "v1", "…", check_status=status, enabled=enabled, removed_at=None)
            assert set(stored.states(0.0)) <= set(STATES)
    assert StoredKey("1", "p", "v1", "…", removed_at="x", enabled=False).states(0.0)[:2] == ("removed", "disabled")


# -- the disk


def test_a_locked_file_is_told(path: Path) -> None:
    vault = filled(path)
    impatient = Vault(path, environ={}, patience=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(VaultError, match="another program holds it"):
            impatient.disable(ids(vault, "v1"))
        assert len(impatient.issue()["anthropic"]) == 3


def test_a_file_that_is_no_database(vault: Vault, path: Path) -> None:
    path.write_text("listen:\n" * 200)
    for use in (vault.list, vault.issue, vault.changed, vault.inspect, lambda: vault.add(key(1))):
        with pytest.raises(VaultError, match="not a database"):
            use()
    assert not SecretFile(path).path.exists()


def test_a_secret_that_cannot_be_kept_adds_no_key(path: Path) -> None:
    SecretFile(path).path.mkdir()
    vault = Vault(path, environ={})
    with pytest.raises(VaultError, match=r"relay\.db\.secret cannot be read"):
        vault.add(key(1))
    assert vault.list() == ()
