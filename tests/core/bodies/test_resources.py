"""Which ids a request names, and which an answer brings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.bodies.resources import DAY, MOST_NAMED, containers, lasts, made, named

FILE, OTHER = "file_011CNha8iCJcU1wXNR6q4V8w", "file_011CPMxVD3fHLUhvTqtsQA5w"
BATCH, BOX = "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF", "container_011CPR5CNjB747bTd36fQLFk"


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        (f"/v1/files/{FILE}", (FILE,)),
        (f"/v1/files/{FILE}/content?beta=true", (FILE,)),
        (f"/v1/messages/batches/{BATCH}/results", (BATCH,)),
        ("/v1/skills/skill_01AbCdEfGh/versions/1", ("skill_01AbCdEfGh",)),
        ("/v1/files?after_id=" + FILE, ()),
        ("/v1/messages/count_tokens", ()),
        ("/v1/models/claude-opus-4-5", ()),
        ("", ()),
    ],
)
def test_ids_in_a_path(path, ids):
    assert named(path, b"") == ids


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (f'{{"source": {{"type": "file", "file_id": "{FILE}"}}}}', (FILE,)),
        (f'[{{"file_id":"{FILE}"}}, {{"file_id": "{OTHER}"}}, {{"file_id":"{FILE}"}}]', (FILE, OTHER)),
        (f'{{"text": "say \\\\"file_id\\\\": \\\\"{FILE}\\\\""}}', ()),
        (f'{{"text": "{FILE}"}}', ()),
    ],
)
def test_ids_in_a_body(body, ids):
    assert named("/v1/messages", body.encode()) == ids


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_ids_in_a_body_however_it_is_written(charset):
    assert named("/v1/messages", f'{{"x":"é","file_id":"{FILE}"}}'.encode(charset)) == (FILE,)


def test_a_path_says_more_than_a_body():
    assert named(f"/v1/files/{FILE}", f'{{"file_id": "{OTHER}"}}'.encode()) == (FILE,)


def test_the_container_comes_first_if_it_is_one():
    body = f'{{"file_id": "{FILE}"}}'.encode()
    assert named("/v1/messages", body, BOX) == (BOX, FILE)
    assert named("/v1/messages", body, "../x") == (FILE,)


def test_a_body_cannot_name_any_number():
    body = "".join(f'"file_id": "file_01{number:010}" ' for number in range(100))
    assert len(named("/v1/messages", body.encode())) == MOST_NAMED


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        (f'{{"id": "{FILE}", "type": "file"}}', (FILE,)),
        (f'{{"id": "{BATCH}", "container": null}}', (BATCH,)),
        ('{"id": 5}', ()),
        ('{"id": "../../x_12345678"}', ()),
        ("<html>", ()),
    ],
)
def test_the_id_of_what_was_made(answer, ids):
    assert made(answer.encode()) == ids


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        (f'{{"id": "msg_0123456789", "container": {{"id": "{BOX}"}}}}', (BOX,)),
        (f'{{"type": "message_start", "message": {{"id": "msg_1", "container": {{"id": "{BOX}"}}}}}}', (BOX,)),
        (f'{{"type": "message_delta", "delta": {{"container": {{"id": "{BOX}"}}}}}}', (BOX,)),
        (f'{{"content": [{{"container": {{"id": "{BOX}"}}}}]}}', ()),
        ('{"id": "msg_0123456789", "container": null}', ()),
        ('{"container": {"id": "../../x_12345678"}}', ()),
        ('{"container": 5}', ()),
        ('{"container": ', ()),
    ],
)
def test_the_container_that_a_message_ran_in(answer, ids):
    assert containers(answer.encode()) == ids


def test_how_long_they_last():
    assert [lasts(name) / DAY for name in (BATCH, BOX, FILE, "skill_01AbCdEfGh")] == [29, 30, 365, 90]


@given(st.text(), st.binary())
def test_never_raises(path, body):
    named(path, body)
    made(body)
    containers(b'{"container":' + body)
