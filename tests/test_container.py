"""Dockerfile and compose.yaml: what they promise of the image, as far as it can be read from them."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from claude_relay.core.config import LOOPBACK, parse

ROOT = Path(__file__).parents[1]
HEALTHY = ROOT / "scripts" / "lib" / "healthy.py"


def instructions() -> list[tuple[str, str]]:
    """Name and argument of each, without comments, lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())
    return found


def relay_yaml() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker" / "relay.yaml").read_text())
    return found


# -- the image


def test_the_base_is_of_one_version_and_is_named_without_a_host() -> None:
    [base] = [argument.partition("=")[2] for argument in of("ARG")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert of("FROM") == ["${PYTHON}"]
    assert tuple(map(int, base.split(":")[1].split(".")[:2])) in ((3, 12), (3, 13), (3, 14))


def test_packages_come_from_the_lock_file_by_their_hashes() -> None:
    assert [run for run in of("RUN") if "install.py" in run] == ["python scripts/lib/install.py . requirements.lock"]
    assert "--require-hashes" in (ROOT / "scripts" / "lib" / "install.py").read_text()
    assert not [run for run in of("RUN") if re.search(r"\bpip\b|\bcurl\b|\bwget\b|\bapt", run)]
    assert not [rest for name, rest in instructions() if name == "ADD"]


def test_it_runs_as_nobody_in_particular() -> None:
    names = [name for name, _ in instructions()]
    assert of("USER") == ["10001:10001"]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))
    assert of("VOLUME") == ["/data"]


def test_what_is_copied_is_there_and_nothing_else_gets_in() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    for words in (copy.split()[:-1] for copy in of("COPY")):
        for path in words:
            assert (ROOT / path).exists(), path
            assert any(path == name or path.startswith(f"{name}/") for name in kept), path


def test_no_file_holds_a_secret_or_the_host_of_a_registry() -> None:
    for name in ("Dockerfile", "compose.yaml", "docker/relay.yaml", ".dockerignore"):
        text = (ROOT / name).read_text()
        assert not re.search(r"sk-ant-|rk-\w|docker\.io|ghcr|quay|pypi|https?://", text), name
    for setting in of("ENV"):
        assert not re.search(r"KEY|SECRET|TOKEN|PASSWORD", setting)


def test_signals_reach_the_relay_itself() -> None:
    """A shell in between would not pass SIGTERM on; scripts/relay becomes the relay."""
    [entry] = of("ENTRYPOINT")
    assert json.loads(entry) == ["/opt/claude-relay/scripts/relay"]
    assert of("WORKDIR") == ["/opt/claude-relay"]


# -- how it is run


def test_only_this_machine_reaches_it_unless_somebody_says_otherwise() -> None:
    [service] = compose()["services"].values()
    published = [port.split(":") for port in service["ports"]]
    assert {host for host, _, _ in published} == {"127.0.0.1"}
    listen = relay_yaml()["listen"]
    assert {inside for _, _, inside in published} == {
        listen[name].rpartition(":")[2] for name in ("proxy", "base_url", "panel")
    }
    assert set(" ".join(of("EXPOSE")).split()) == {inside for _, _, inside in published}


def test_it_may_do_little() -> None:
    [service] = compose()["services"].values()
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all("=" not in name for name in service["environment"])  # values come from outside


def test_its_configuration_is_one() -> None:
    text = relay_yaml()
    assert text.pop("clients") == {"required": True}  # peers of a bridge are not loopback
    config = parse(json.dumps(text), environ={}, folder=Path("/etc/claude-relay"))
    assert config.database == Path("/data/relay.db")
    for address in (config.listen.proxy, config.listen.base_url, config.listen.panel):
        assert address is not None
        assert address.host == "0.0.0.0"
    assert config.listen.status is not None
    assert config.listen.status.host in LOOPBACK
    assert list(compose()["services"]) == list(config.listen.hosts)
    [environment] = of("ENV")
    assert "RELAY_CONFIG=/etc/claude-relay/relay.yaml" in environment


def test_it_is_given_time_to_end() -> None:
    [service] = compose()["services"].values()
    assert int(service["stop_grace_period"].rstrip("s")) > parse("", environ={}).shutdown


# -- the health check


@pytest.fixture
def served() -> Iterator[tuple[int, list[int]]]:
    """A port, and the status that is answered there."""
    status = [200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, status
        server.shutdown()
        thread.join()


def health(port: int) -> int:
    environ = {"http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, "-I", HEALTHY, str(port)], env=environ, check=False).returncode


def test_the_health_check_asks_the_relay(served: tuple[int, list[int]]) -> None:
    port, status = served
    assert health(port) == 0
    status[0] = 503
    assert health(port) == 1


def test_it_asks_where_the_relay_answers() -> None:
    assert health(1) == 1
    [check] = of("HEALTHCHECK")
    path = json.loads(check.partition("CMD ")[2])[-1]
    assert path == "/opt/claude-relay/scripts/lib/healthy.py"
    assert f"PORT = {relay_yaml()['listen']['status'].rpartition(':')[2]}\n" in HEALTHY.read_text()
