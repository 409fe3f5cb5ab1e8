"""A relay that is out of files: what runs goes on, nobody is blamed, the log says it in a line, and it comes back by itself."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from waiting import eventually

from . import claude, steps
from .clients import Answer, RawClient, messages_body
from .relay import SCRIPT, RelayProcess, config, free_ports, rows
from .upstream import FakeUpstream, Signal

FILES = 120
SPARE = 9
"""Files that a relay may have had open only at that moment, as those of a database that it looks at from time to time."""
PROGRAM = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
from mitmproxy.tools.main import mitmdump
mitmdump()
"""


def test_a_relay_without_files(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    (status,) = free_ports(1)
    text = config(upstream.url, ["good-1"], listen={"status": f"127.0.0.1:{status}"})
    go = Signal()
    upstream.script(steps.message(), steps.stream([*claude.events()[:3], go, *claude.events()[3:]]))
    command = [sys.executable, "-c", PROGRAM, "-s", str(SCRIPT)]
    with (
        RelayProcess(tmp_path, confdir, text, command=command) as relay,
        RawClient(relay.base_port) as running,
        ExitStack() as opened,
    ):
        assert running.ask("POST", "/v1/messages", body=messages_body()).status == 200  # what is loaded late is loaded
        running.post(stream=True)
        running.head()
        running.until(b"message_start")
        waiting = [opened.enter_context(RawClient(relay.base_port)) for _ in range(SPARE)]
        before = len(relay.output())
        for port in (relay.base_port, relay.proxy_port, status) * (FILES // 3):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        eventually(lambda: "no further connection" in relay.output()[before:])
        answers = map(answer_of, waiting)
        served, answer = next((n, answer) for n, answer in enumerate(answers) if answer.status != 200)
        assert answer.status in (502, 503)
        assert answer.error_type == "api_error"
        assert "Too many open files" in str(answer.json())
        go.set()
        while running.piece() is not None:
            pass
        assert running.current.body.endswith(claude.STOP)
        said = relay.output()[before:]
        assert "no further connection can be taken" in said
        assert said.count("\n") <= 8 + 2 * served  # not one for each connection
        assert "Traceback" not in said
        opened.close()
        with RawClient(relay.base_port) as client:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        with RawClient(status) as client:
            assert json.loads(client.ask("GET", "/healthz").body)["ok"] is True
    statuses = sorted(row["status"] for row in rows(relay.database))
    assert statuses == [200] * (3 + served) + [502]


def answer_of(client: RawClient) -> Answer:
    """Of a message."""
    client.post()
    return client.answer()
