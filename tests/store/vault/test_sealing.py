from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.store.vault.sealing import FAST, SLOW, Box, Damaged, Lock, new_lock, unlock
from claude_relay.store.vault.secret import (
    FILE,
    KEYRING,
    SERVICE,
    Environment,
    SecretFile,
    SystemKeyring,
    Unavailable,
    fresh,
    place_named,
    usual_place,
)

SECRET = "a secret that a machine has drawn, as it were"
LOCK, BOX = new_lock(SECRET, machine_made=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
NAMES = st.sampled_from(["secret", "proxy"])


def opened(lock: Lock = LOCK, secret: str = SECRET) -> Box:
    box = unlock(lock, secret)
    assert box is not None
    return box


@given(TEXTS, NAMES, TEXTS, TEXTS)
def test_what_is_sealed_is_what_comes_back(text: str, name: str, id: str, provider: str) -> None:
    sealed = BOX.seal(text, name, id=id, provider=provider)
    assert opened().open(sealed, name, id=id, provider=provider) == text
    if len(text) > 3:
        assert text.encode() not in sealed


@given(TEXTS, st.data())
def test_any_change_is_found(text: str, data: st.DataObject) -> None:
    sealed = BOX.seal(text, "secret", id="1", provider="p")
    place = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.integers(1, 255))
    changed = sealed[:place] + bytes([sealed[place] ^ other]) + sealed[place + 1 :]
    longer, shorter = sealed + bytes([other]), sealed[:place]
    for wrong in (changed, longer, shorter):
        with pytest.raises(Damaged):
            BOX.open(wrong, "secret", id="1", provider="p")


@given(st.tuples(NAMES, TEXTS, TEXTS), st.tuples(NAMES, TEXTS, TEXTS))
def test_a_text_opens_in_its_own_place_only(here: tuple[str, str, str], there: tuple[str, str, str]) -> None:
    sealed = BOX.seal("text", here[0], id=here[1], provider=here[2])
    if here == there:
        return
    with pytest.raises(Damaged):
        BOX.open(sealed, there[0], id=there[1], provider=there[2])


@pytest.mark.parametrize("found", [None, "text", 7, 1.5, b"", b"\x01" * 28])
def test_what_a_file_may_hold_instead(found: object) -> None:
    with pytest.raises(Damaged, match="never sealed"):
        BOX.open(found, "secret", id="1", provider="p")


def test_the_same_text_is_never_sealed_the_same_way() -> None:
    assert len({BOX.seal("text", "secret", id="1", provider="p") for _ in range(100)}) == 100


def test_fingerprints_tell_equal_texts_to_whoever_has_the_secret() -> None:
    mark = BOX.fingerprint("text", provider="p")
    assert opened().fingerprint("text", provider="p") == mark
    assert BOX.fingerprint("text", provider="q") != mark
    assert BOX.fingerprint("Text", provider="p") != mark
    assert opened(new_lock(SECRET, machine_made=True)[0]).fingerprint("text", provider="p") != mark


@pytest.mark.parametrize("machine_made", [True, False])
def test_a_wrong_secret_is_told_from_the_right_one(machine_made: bool) -> None:
    lock, _ = new_lock(SECRET, machine_made=machine_made)
    assert lock.kdf == (FAST if machine_made else SLOW)
    assert unlock(lock, SECRET + " ") is None
    assert unlock(lock, SECRET) is not None
    assert SECRET.encode() not in lock.salt + lock.check


def test_two_locks_of_one_secret_have_nothing_in_common() -> None:
    sealed = BOX.seal("text", "secret", id="1", provider="p")
    with pytest.raises(Damaged):
        opened(new_lock(SECRET, machine_made=True)[0]).open(sealed, "secret", id="1", provider="p")


@pytest.mark.parametrize(
    "change",
    [
        {"kdf": "none"},
        {"kdf": "scrypt:2:8:1"},
        {"kdf": "scrypt:1073741824:8:1"},
        {"kdf": "scrypt:65535:8:1"},
        {"kdf": None},
        {"salt": b""},
        {"salt": None},
        {"salt": "0123456789abcdef"},
        {"check": None},
    ],
)
def test_a_lock_that_is_none(change: dict[str, object]) -> None:
    with pytest.raises(Damaged, match="lock"):
        unlock(replace(LOCK, **change), SECRET)


def test_a_changed_lock_does_not_open() -> None:
    assert unlock(replace(LOCK, salt=bytes(16)), SECRET) is None
    assert unlock(replace(LOCK, check=bytes(32)), SECRET) is None


def test_nothing_of_it_is_shown() -> None:
    assert "AESGCM" not in repr(BOX)
    assert repr(BOX) == "Box()"


def test_a_secret_of_any_bytes_that_a_variable_may_hold() -> None:
    secret = os.fsdecode(b"\xff\xfe not UTF-8 at all")
    assert unlock(new_lock(secret, machine_made=True)[0], secret) is not None


# -- the file


def test_the_file_is_private_and_keeps_several(tmp_path: Path) -> None:
    file = SecretFile(tmp_path / "relay.db")
    assert file.get("0" * 16) is None
    first, second = fresh(), fresh()
    file.put(*first)
    file.put(*second)
    assert file.path == tmp_path / "relay.db.secret"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert (file.get(first[0]), file.get(second[0])) == (first[1], second[1])
    file.drop(first[0])
    file.drop(first[0])
    assert (file.get(first[0]), file.get(second[0])) == (None, second[1])
    file.drop(second[0])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_may_read_is_noticed_and_mended_by_the_next_change(tmp_path: Path) -> None:
    file = SecretFile(tmp_path / "relay.db")
    assert not file.readable_by_others()
    file.put(*fresh())
    assert not file.readable_by_others()
    file.path.chmod(0o640)
    assert file.readable_by_others()
    file.put(*fresh())
    assert not file.readable_by_others()


def test_the_file_lies_beside_the_database_itself(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "relay.db")
    assert SecretFile(tmp_path / "link.db").path == tmp_path / "real" / "relay.db.secret"


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"# nothing\n", b"0123456789abcdef short\n"])
def test_what_is_no_secret_is_passed_over(tmp_path: Path, text: bytes) -> None:
    file = SecretFile(tmp_path / "relay.db")
    file.path.write_bytes(text)
    assert file.get("0123456789abcdef") is None
    id, secret = fresh()
    file.put(id, secret)
    assert file.get(id) == secret


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    file = SecretFile(tmp_path / "relay.db")
    file.path.mkdir()
    with pytest.raises(Unavailable, match=r"relay\.db\.secret cannot be read"):
        file.get("0" * 16)
    with pytest.raises(Unavailable, match="cannot be written"):
        SecretFile(tmp_path / "nowhere" / "relay.db").put(*fresh())
    assert [path.name for path in tmp_path.iterdir()] == ["relay.db.secret"]


# -- the keyring


class Backend:
    """A keyring in memory, as the package `keyring` describes one; may be out of order."""

    def __init__(self, priority: float = 5, broken: str = "") -> None:
        self.priority = priority
        self.broken = broken
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        self._perhaps("get")
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self._perhaps("set")
        if self.broken != "forgetful":
            self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]

    def _perhaps(self, what: str) -> None:
        if self.broken == what:
            raise RuntimeError("locked, and by the way the password is hunter2")


def install(monkeypatch: pytest.MonkeyPatch, backend: object) -> None:
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_keyring=lambda: backend))


def test_the_keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = Backend()
    install(monkeypatch, backend)
    place = usual_place({}, tmp_path / "relay.db")
    assert place.name == KEYRING
    place.put("1", "secret")
    assert backend.kept == {(SERVICE, "1"): "secret"}
    assert place_named(KEYRING, {}, tmp_path).get("1") == "secret"
    place.drop("1")
    place.drop("1")
    assert place.get("1") is None


@pytest.mark.parametrize("broken", ["get", "set", "forgetful"])
def test_a_keyring_that_fails_repeats_nothing(broken: str) -> None:
    with pytest.raises(Unavailable) as caught:
        SystemKeyring(Backend(broken=broken)).put("1", "hunter2")
    assert "hunter2" not in str(caught.value)
    assert "keyring" in str(caught.value)


@pytest.mark.parametrize("backend", [None, Backend(priority=0), Backend(priority=0.5), SimpleNamespace()])
def test_without_a_good_keyring_the_file_is_usual(
    monkeypatch: pytest.MonkeyPatch, backend: object, tmp_path: Path
) -> None:
    if backend is None:
        monkeypatch.setitem(sys.modules, "keyring", None)
    else:
        install(monkeypatch, backend)
    assert usual_place({}, tmp_path / "relay.db").name == FILE
    with pytest.raises(Unavailable, match="keyring"):
        place_named(KEYRING, {}, tmp_path)


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, Backend())
    place = usual_place({"RELAY_SECRET": SECRET}, tmp_path / "relay.db")
    assert isinstance(place, Environment)
    assert (place.get("any"), str(place)) == (SECRET, "RELAY_SECRET")
    assert usual_place({"RELAY_SECRET": ""}, tmp_path / "relay.db").name == KEYRING
    with pytest.raises(Unavailable, match="unknown"):
        place_named("cloud", {}, tmp_path)
