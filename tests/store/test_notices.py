from __future__ import annotations

import time
from pathlib import Path

import pytest

from claude_relay.core.notices import Kind, Notice
from claude_relay.core.times import DAY, HOUR, iso
from claude_relay.store import audit, notices
from claude_relay.store.audit import Actor
from claude_relay.store.notices import NoticeBook, Which

ME = Actor("ann", "panel", "here")
NOW = time.time()


def told(kind: Kind = Kind.KEY_OUT, key: str = "anthropic/k2", at: float = NOW, again: float | None = None) -> Notice:
    return Notice(kind, key, f"{key} needs you.", at, again)


@pytest.fixture
def book(tmp_path: Path) -> NoticeBook:
    return NoticeBook(tmp_path / "relay.db")


def test_before_the_first_notice_there_is_none(book: NoticeBook) -> None:
    assert book.read(Which.ALL, NOW) == []
    assert book.count_open(NOW) == 0


def test_what_is_told_again_is_one_notice_until_it_is_done(book: NoticeBook) -> None:
    book.put(told(), NOW)
    book.put(told(at=NOW + HOUR), NOW + HOUR)
    (one,) = book.read(Which.OPEN, NOW + HOUR)
    assert (one.times, one.first_at, one.last_at) == (2, iso(NOW), iso(NOW + HOUR))
    done = book.change(ME, one.id, NOW + HOUR, {"done": True})
    assert (done.done_by, done.state(NOW)) == ("ann", Which.DONE)
    book.put(told(at=NOW + 2 * HOUR), NOW + 2 * HOUR)
    assert [found.times for found in book.read(Which.ALL, NOW + 2 * HOUR)] == [1, 2]
    assert book.count_open(NOW + 2 * HOUR) == 1


def test_a_snoozed_notice_comes_back(book: NoticeBook) -> None:
    book.put(told(), NOW)
    (one,) = book.read(Which.OPEN, NOW)
    book.change(ME, one.id, NOW, {"snoozed_until": iso(NOW + HOUR)})
    assert book.read(Which.OPEN, NOW + 1) == []
    assert [found.id for found in book.read(Which.SNOOZED, NOW + 1)] == [one.id]
    assert book.count_open(NOW + HOUR + 1) == 1


def test_what_passes_by_itself_has_ended(book: NoticeBook) -> None:
    book.put(told(Kind.PROVIDER_DOWN, "anthropic"), NOW)
    book.put(told(Kind.BUDGET_WARN, "month", again=NOW + DAY), NOW)
    assert {found.kind for found in book.read(Which.OPEN, NOW + HOUR + 1)} == {"budget_warn"}
    assert {found.kind for found in book.read(Which.ENDED, NOW + HOUR + 1)} == {"provider_down"}
    assert book.count_open(NOW + DAY + 1) == 0


def test_a_budget_without_an_end_has_none(book: NoticeBook) -> None:
    book.put(told(Kind.BUDGET_END, "total", again=float("inf")), NOW)
    assert book.read(Which.OPEN, NOW)[0].ends_at is None


def test_pages_follow_each_other(book: NoticeBook) -> None:
    for n in range(5):
        book.put(told(key=f"anthropic/k{n}", at=NOW + n), NOW)
    first = book.read(Which.ALL, NOW, limit=2)
    after = first[-1].last_at, first[-1].id
    assert [one.key for one in first] == ["anthropic/k4", "anthropic/k3"]
    assert [one.key for one in book.read(Which.ALL, NOW, after=after)] == [
        "anthropic/k2",
        "anthropic/k1",
        "anthropic/k0",
    ]


def test_what_is_old_and_what_is_too_much_goes(book: NoticeBook, monkeypatch: pytest.MonkeyPatch) -> None:
    book.put(told(key="old", at=NOW - notices.KEPT - DAY), NOW)
    assert book.read(Which.ALL, NOW) == []
    monkeypatch.setattr(notices, "MOST", 2)
    for n in range(4):
        book.put(told(key=f"k{n}", at=NOW + n), NOW)
    assert [one.key for one in book.read(Which.ALL, NOW)] == ["k3", "k2"]


def test_a_change_is_in_the_audit_log_and_none_is_not(book: NoticeBook) -> None:
    book.put(told(), NOW)
    id = book.read(Which.OPEN, NOW)[0].id
    book.change(ME, id, NOW, {"done": True})
    book.change(ME, id, NOW, {"done": True})
    (entry,) = audit.read(book.path, kind="notice")
    assert (entry.who, entry.act, entry.subject) == ("ann", "edit", "key_out anthropic/k2")
    assert book.change(ME, id, NOW, {"done": False}).done_at is None
    with pytest.raises(LookupError):
        book.change(ME, "none", NOW, {"done": True})
