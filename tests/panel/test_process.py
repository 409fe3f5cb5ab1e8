"""The process of a panel by itself: what it says at its start, and TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from claude_relay.core.config.doors import Tls
from claude_relay.panel import __main__ as program
from waiting import PATIENCE
from wire.certs import Authority
from wire.relay import free_ports

from .stage import ADDON, PASSWORD, running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def started(folder: Path, listen: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "relay.yaml").write_text(f"listen: {{proxy: null, base_url: '127.0.0.1:1', status: null, {listen}}}\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "ANTHROPIC_"))}
    own |= {"PYTHONPATH": str(ADDON), "RELAY_CONFIG": str(folder / "relay.yaml")} | environ
    command = [sys.executable, "-m", "claude_relay.panel"]
    with subprocess.Popen(command, env=own, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(folder: Path, listen: str, **environ: str) -> tuple[int, str]:
    """Of one that cannot begin."""
    with started(folder, listen, **environ) as process:
        _, text = process.communicate(timeout=PATIENCE)
        return process.returncode, text


def test_why_there_is_no_panel(tmp_path: Path) -> None:
    config = tmp_path / "relay.yaml"
    config.write_text("listen: {panel: null}")
    with pytest.raises(program.Unable, match=r"null in relay\.yaml, so there is no panel; set it to 127\.0\.0\.1:8083"):
        program.run(Namespace(config=str(config), lifeline=None), of_relay=False)
    config.write_text("listen: {panel: '192.0.2.1:1'}")
    with pytest.raises(
        program.Unable, match=r"cannot listen on 192\.0\.2\.1:1 .*; change listen\.panel in relay\.yaml"
    ):
        program.run(Namespace(config=str(config), lifeline=None), of_relay=False)


def test_a_database_that_is_none_is_said_without_its_path(tmp_path: Path) -> None:
    with running(tmp_path) as panel:
        for file in tmp_path.glob("relay.db*"):
            file.unlink()
        panel.database.write_bytes(b"garbage " * 2000)
        answer = panel.sign_in()
        assert answer.status == 503
        assert answer.json["detail"].startswith("The database cannot be used")
        assert str(tmp_path) not in answer.text


def test_a_pair_that_cannot_be_used(tmp_path: Path, authority: Authority) -> None:
    one, other = (pair(tmp_path, authority, name) for name in ("one.example", "other.example"))
    status, text = said(
        tmp_path, f"panel: '127.0.0.1:{free_ports(1)[0]}', tls: {{cert: '{one.cert}', key: '{other.key}'}}"
    )
    assert (status, text.count("\n")) == (3, 1)
    assert text.startswith("panel: listen.tls")


def test_an_open_address_without_tls_is_warned_of(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with started(tmp_path, f"panel: '0.0.0.0:{port}'", RELAY_ADMIN_PASSWORD=PASSWORD) as process:
        assert process.stderr is not None
        assert "open to the network without TLS" in process.stderr.readline()
        assert process.stderr.readline() == f"panel: http://127.0.0.1:{port}\n"


def test_over_tls(tmp_path: Path, authority: Authority) -> None:
    files = pair(tmp_path, authority, "localhost")
    listen = f", hosts: [localhost], tls: {{cert: '{files.cert}', key: '{files.key}'}}"
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))
    with running(tmp_path, listen=listen) as panel:
        assert panel.said == [f"panel: https://localhost:{panel.port}\n"]
        with closing(HTTPSConnection("localhost", panel.port, timeout=PATIENCE, context=trusting)) as connection:
            connection.request("POST", "/login", f"username=admin&password={PASSWORD.replace(' ', '+')}")
            answer = connection.getresponse()
            assert answer.status == 303
            assert answer.getheader("strict-transport-security")
            assert "__Host-relay-panel=" in str(answer.headers)


def test_a_renewed_certificate_is_shown_to_whoever_comes_next(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(program, "LOOK", 0.02)
    files = pair(tmp_path, authority, "first.example")
    context = program.context(files)
    came: list[str] = []
    changed = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        renewing = asyncio.create_task(program.renew(files, context))
        came.append(await asyncio.to_thread(shown, port))
        files.key.write_text("half written")
        while "cannot be used" not in caplog.text:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        came.append(await asyncio.to_thread(shown, port))
        authority.write_pair(files.cert, "second.example", key_file=files.key)
        name = came[-1]
        while name == came[-1]:
            with suppress(OSError):  # between the certificate and its key
                name = await asyncio.to_thread(shown, port)
        came.append(name)
        renewing.cancel()
        server.close()
        changed.set()

    worker = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(serve(), PATIENCE)))
    worker.start()
    assert changed.wait(2 * PATIENCE)
    worker.join(PATIENCE)
    assert came == ["first.example", "first.example", "second.example"]


def pair(folder: Path, authority: Authority, name: str) -> Tls:
    files = Tls(cert=folder / f"{name}.pem", key=folder / f"{name}.key")
    authority.write_pair(files.cert, name, key_file=files.key)
    return files


def shown(port: int) -> str:
    """For which name the certificate is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, context.wrap_socket(sock) as secured:
        found = secured.getpeercert(binary_form=True)
    assert found is not None
    return next(name for name in ("first.example", "second.example") if name.encode() in found)
