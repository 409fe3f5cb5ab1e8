"""What doctor says of listeners that other machines reach."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from claude_relay.cli.checks import FAIL, OK, WARN
from claude_relay.cli.encryption import encryption
from claude_relay.core.config import Config, parse
from claude_relay.store.tls_pair import read
from wire.certs import Authority


def config(tmp_path: Path, listen: str) -> Config:
    return parse(f"listen: {{{listen}}}", environ={}, folder=tmp_path)


def found(tmp_path: Path, listen: str, **how: Any) -> list[tuple[str, str]]:
    return [(check.status, check.found) for check in encryption(config(tmp_path, listen), **how)]


@pytest.fixture
def files(tmp_path: Path) -> str:
    Authority(tmp_path).write_pair(tmp_path / "cert.pem", "relay.example.com", key_file=tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    return "tls: {cert: cert.pem, key: key.pem}, hosts: [relay.example.com]"


def test_nothing_to_say_of_loopback(tmp_path: Path) -> None:
    assert found(tmp_path, "") == []


def test_open_without_tls(tmp_path: Path) -> None:
    [(status, text)] = found(tmp_path, "base_url: 0.0.0.0:8082")
    assert (status, text) == (WARN, "listen.base_url is open to the network, 0.0.0.0:8082, without TLS")


def test_a_good_certificate(tmp_path: Path, files: str) -> None:
    [(status, text)] = found(tmp_path, files)
    assert status == OK
    assert "for relay.example.com, until 20" in text


def test_one_near_its_end_and_after_it(tmp_path: Path, files: str) -> None:
    ends = read(tmp_path / "cert.pem", tmp_path / "key.pem").expires
    assert [status for status, _ in found(tmp_path, files, now=ends - timedelta(days=13))] == [WARN, OK]
    assert [status for status, _ in found(tmp_path, files, now=ends)] == [FAIL]


def test_one_of_no_use(tmp_path: Path, files: str) -> None:
    (tmp_path / "key.pem").write_text("")
    [check] = encryption(config(tmp_path, files))
    assert (check.status, check.name) == (FAIL, "tls")
    (tmp_path / "key.pem").unlink()
    [check] = encryption(config(tmp_path, files))
    assert check.remedy == "paths start from the folder of relay.yaml"


def test_a_key_that_everybody_reads(tmp_path: Path, files: str) -> None:
    (tmp_path / "key.pem").chmod(0o644)
    (status, text), _ = found(tmp_path, files)
    assert (status, text) == (WARN, f"others may read {tmp_path / 'key.pem'}")
