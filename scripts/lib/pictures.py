"""Makes the pictures of mitmweb in docs/images: a relay with the demo's made-up Claude, looked at with Chromium.

    .venv/bin/python scripts/lib/pictures.py          needs `chromium` (Debian: apt-get install chromium)

Four of them: the list of flows, a request, a streamed answer, and a failed attempt. Nothing leaves this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "addon"))

from claude_relay.cli.demonstration.cast import REQUESTS  # noqa: E402 - from this checkout
from claude_relay.cli.demonstration.claude import FakeClaude  # noqa: E402
from claude_relay.cli.demonstration.client import Doors, send  # noqa: E402
from claude_relay.cli.demonstration.relaying import Relaying, configuration  # noqa: E402
from claude_relay.cli.fake.free_ports import free_ports  # noqa: E402

IMAGES: Final = ROOT / "docs" / "images"
WIDTH, HEIGHT, TALL = 1400, 760, 1060
"""Pixels; as wide as most people's windows, and high enough for what is to be seen."""
PASSWORD: Final = "picture"
SECONDS: Final = 60.0
"""Within which Chromium has to make one."""
SETTLED: Final = 10.0


def main() -> None:
    """All pictures, anew."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    [port] = free_ports(1)
    web = ("--web", "--no-web-open-browser", "--web-port", str(port), "--set", f"web_password={PASSWORD}")
    with (
        tempfile.TemporaryDirectory(prefix="claude-relay-pictures-") as folder,
        FakeClaude(0.0) as claude,
        Relaying(Path(folder), configuration(claude.url), web) as relay,
    ):
        doors = Doors(relay.base_port, relay.proxy_port, relay.ca)
        for number, request in enumerate(REQUESTS, 1):
            send(request, doors, f"claude-cli/2.1.330 (picture {number})")
        flows = settled(port)
        IMAGES.mkdir(exist_ok=True)
        for name, place in places(flows):
            height = TALL if name == "streamed-answer" else HEIGHT
            take(browser, f"http://127.0.0.1:{port}/?token={PASSWORD}#/{place}", IMAGES / f"{name}.png", height)


def settled(port: int) -> list[dict[str, Any]]:
    """The flows, as soon as each has its story. Raises TimeoutError."""
    until = time.monotonic() + SETTLED
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/flows?token={PASSWORD}", timeout=SETTLED) as answer:
            flows: list[dict[str, Any]] = json.load(answer)
        if flows and all(flow["comment"] for flow in flows):
            return flows
        time.sleep(0.05)
    raise TimeoutError("not every flow was settled")


def places(flows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Name and address of each picture."""
    attempt = next(flow for flow in flows if flow["comment"].startswith("attempt"))
    messages = [
        flow
        for flow in flows
        if flow["request"]["path"] == "/v1/messages" and not flow["comment"].startswith("attempt")
    ]
    streamed = next(flow for flow in messages if "event-stream" in str(flow["response"]["headers"]))
    yield "list", "flows"
    yield "request", f"flows/{messages[0]['id']}/request"
    yield "streamed-answer", f"flows/{streamed['id']}/response"
    yield "attempt", f"flows/{attempt['id']}/response"


def take(browser: str, address: str, file: Path, height: int) -> None:
    """One picture, when the page has loaded what it shows."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{height}",
        "--virtual-time-budget=6000", f"--screenshot={file}", address,
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
