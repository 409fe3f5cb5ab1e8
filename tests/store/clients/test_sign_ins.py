"""Sign-ins in a real database, used by two relays at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.sign_in import ACCESS_LASTS, CODE_LASTS, GRACE, INTERVAL, REFRESH_LASTS, SLOWER
from claude_relay.core.times import iso
from claude_relay.store import audit
from claude_relay.store.audit import Actor
from claude_relay.store.clients import sign_ins as sign_in
from claude_relay.store.clients.approvals import approve, deny
from claude_relay.store.clients.book import ClientBook, ClientError
from claude_relay.store.clients.sign_ins import Begun, Refused, SignIns, Tokens

ME, PERSON = Actor("me", "cli", "here"), Actor("ann", "sign-in", "192.0.2.7")


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("time.time", found)
    return found


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[ClientBook]:
    found = ClientBook(tmp_path / "relay.db")
    found.add(ME, "ann", {"owner": "ann@example.com"})
    yield found
    found.close()


@pytest.fixture
def here(book: ClientBook, clock: Clock) -> SignIns:
    return SignIns(book.path, clock=clock)


@pytest.fixture
def there(book: ClientBook, clock: Clock) -> SignIns:
    """Another relay's."""
    return SignIns(book.path, clock=clock)


@pytest.fixture
def ann(book: ClientBook) -> Client:
    return book.directory().clients["ann"]


def begun(sign_ins: SignIns) -> Begun:
    found = sign_ins.begin("198.51.100.9")
    assert isinstance(found, Begun)
    return found


def signed_in(sign_ins: SignIns, client: Client) -> Tokens:
    waiting = begun(sign_ins)
    approve(sign_ins.path, PERSON, waiting.user_code, client.name)
    found = sign_ins.poll(waiting.device_code)
    assert isinstance(found, Tokens)
    return found


def served(book: ClientBook, clock: Clock, token: str) -> str | None:
    directory = book.directory()
    grant = directory.find(token)
    return grant.client.name if grant is not None and grant.refusal(clock.now) is None else None


def test_a_code_brings_tokens_once(here: SignIns, there: SignIns, book: ClientBook, ann: Client, clock: Clock) -> None:
    waiting = begun(here)
    assert len(waiting.device_code) * 6 >= 256
    assert (waiting.expires_in, waiting.interval) == (CODE_LASTS, INTERVAL)
    assert there.poll(waiting.device_code) is Refused.PENDING
    approve(here.path, PERSON, waiting.user_code, "ann")
    clock.now += INTERVAL
    found = there.poll(waiting.device_code)
    assert isinstance(found, Tokens)
    assert (found.client.name, found.expires_in) == ("ann", ACCESS_LASTS)
    assert (found.access[:6], found.refresh[:6]) == ("rk-at-", "rk-rt-")
    assert served(book, clock, found.access) == "ann"
    assert served(book, clock, found.refresh) is None
    clock.now += INTERVAL
    assert here.poll(waiting.device_code) is Refused.INVALID
    with pytest.raises(ClientError):
        approve(here.path, PERSON, waiting.user_code, "ann")
    (act, *_) = audit.read(book.path)
    assert (act.act, act.subject, act.who, act.place) == ("approve", "ann", "ann", "192.0.2.7")
    assert act.after == {"code": waiting.user_code, "peer": "198.51.100.9"}
    files = b"".join(file.read_bytes() for file in book.path.parent.iterdir())
    assert not [secret for secret in (waiting.device_code, found.access, found.refresh) if secret.encode() in files]
    clock.now += ACCESS_LASTS
    assert served(book, clock, found.access) is None


def test_who_looks_too_soon_is_slowed_down(here: SignIns, there: SignIns, clock: Clock) -> None:
    waiting = begun(here)
    assert here.poll(waiting.device_code) is Refused.PENDING
    clock.now += INTERVAL - 1
    assert there.poll(waiting.device_code) is Refused.SLOW_DOWN
    clock.now += INTERVAL
    assert here.poll(waiting.device_code) is Refused.SLOW_DOWN
    clock.now += INTERVAL + 2 * SLOWER - 0.2
    assert here.poll(waiting.device_code) is Refused.PENDING


def test_a_person_says_no(here: SignIns, ann: Client) -> None:
    waiting = begun(here)
    deny(here.path, PERSON, waiting.user_code)
    with pytest.raises(ClientError):
        approve(here.path, PERSON, waiting.user_code, "ann")
    assert here.poll(waiting.device_code) is Refused.DENIED


def test_a_code_expires(here: SignIns, ann: Client, clock: Clock) -> None:
    waiting = begun(here)
    clock.now += CODE_LASTS
    with pytest.raises(ClientError):
        approve(here.path, PERSON, waiting.user_code, "ann")
    assert here.poll(waiting.device_code) is Refused.EXPIRED
    assert here.poll("nothing") is Refused.INVALID
    clock.now += 2 * 86400
    begun(here)
    assert here.poll(waiting.device_code) is Refused.INVALID


def test_only_so_many_wait(here: SignIns, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "MOST_WAITING", 2)
    begun(here)
    begun(here)
    assert here.begin("") is Refused.BUSY
    clock.now += CODE_LASTS
    begun(here)


def test_tokens_are_renewed(here: SignIns, there: SignIns, book: ClientBook, ann: Client, clock: Clock) -> None:
    first = signed_in(here, ann)
    clock.now += ACCESS_LASTS
    second = there.refresh(first.refresh)
    assert isinstance(second, Tokens)
    assert served(book, clock, second.access) == "ann"
    clock.now += GRACE  # the answer was lost on its way
    again = here.refresh(first.refresh)
    assert isinstance(again, Tokens)
    assert isinstance(here.refresh(second.refresh), Tokens)
    assert here.refresh(second.access) is Refused.INVALID


def test_a_copied_token_ends_the_sign_in(here: SignIns, book: ClientBook, ann: Client, clock: Clock) -> None:
    first, other = signed_in(here, ann), signed_in(here, ann)
    second = here.refresh(first.refresh)
    assert isinstance(second, Tokens)
    clock.now += GRACE + 1
    assert here.refresh(first.refresh) is Refused.INVALID
    assert here.refresh(second.refresh) is Refused.INVALID
    assert [served(book, clock, one.access) for one in (first, second, other)] == [None, None, "ann"]
    (act, *_) = audit.read(book.path, kind="sign-in")
    assert (act.act, act.after) == ("sign out", {"why": "a refresh token was used a second time"})


def test_a_refresh_token_expires(here: SignIns, ann: Client, clock: Clock) -> None:
    found = signed_in(here, ann)
    clock.now += REFRESH_LASTS
    assert here.refresh(found.refresh) is Refused.INVALID


@pytest.mark.parametrize("token", ["access", "refresh"])
def test_signing_out_ends_the_sign_in(
    here: SignIns, there: SignIns, book: ClientBook, ann: Client, clock: Clock, token: str
) -> None:
    found, other = signed_in(here, ann), signed_in(here, ann)
    before = book.changed()
    assert there.revoke(getattr(found, token))
    assert book.changed() != before
    assert not there.revoke(found.refresh)
    assert here.refresh(found.refresh) is Refused.INVALID
    assert [served(book, clock, one.access) for one in (found, other)] == [None, "ann"]


@pytest.mark.parametrize("end", ["disable", "remove", "expire", "rotate"])
def test_a_sign_in_ends_with_its_client(here: SignIns, book: ClientBook, ann: Client, clock: Clock, end: str) -> None:
    found, waiting = signed_in(here, ann), begun(here)
    approve(here.path, PERSON, waiting.user_code, "ann")
    if end == "disable":
        book.edit(ME, "ann", {"enabled": False})
    elif end == "remove":
        book.remove(ME, "ann")
    elif end == "expire":
        book.edit(ME, "ann", {"expires_at": iso(clock.now - 1)})
    else:
        book.rotate(ME, "ann", 0)
    assert served(book, clock, found.access) is None
    assert here.refresh(found.refresh) is Refused.INVALID
    if end != "rotate":
        assert here.poll(waiting.device_code) is Refused.DENIED


def test_a_token_lives_no_longer_than_its_client(here: SignIns, book: ClientBook, clock: Clock) -> None:
    book.edit(ME, "ann", {"expires_at": iso(clock.now + 100)})
    assert signed_in(here, book.directory().clients["ann"]).expires_in == pytest.approx(100, abs=0.01)


def test_what_is_over_is_dropped(here: SignIns, book: ClientBook, ann: Client, clock: Clock) -> None:
    from contextlib import closing

    from claude_relay.store.db.database import read_only

    found = signed_in(here, ann)
    for _ in range(5):
        clock.now += ACCESS_LASTS
        renewed = here.refresh(found.refresh)
        assert isinstance(renewed, Tokens)
        found = renewed
    with closing(read_only(book.path)) as connection:
        kinds = dict(connection.execute("SELECT kind, count(*) FROM client_tokens GROUP BY kind").fetchall())
    assert kinds == {"access": 1, "refresh": 6}
