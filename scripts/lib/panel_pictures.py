"""Makes the pictures of the panel in docs/images: a panel over a made-up database, looked at with Chromium.

    .venv/bin/python scripts/lib/panel_pictures.py [FOLDER]     needs `chromium` (Debian: apt-get install chromium)

The overview, one request and the keys by day, the keys by night. No relay runs, and nothing leaves this machine: what a relay would
have written is made up here, the same at each time but for the dates.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "addon"))

from playwright.sync_api import Page, sync_playwright  # noqa: E402 - beside this checkout

from claude_relay.cli.fake.free_ports import free_ports  # noqa: E402
from claude_relay.core.keys.cooldown import begin, to_row  # noqa: E402
from claude_relay.core.keys.replication import Shared  # noqa: E402
from claude_relay.core.notices import Kind, Notice  # noqa: E402
from claude_relay.core.times import iso  # noqa: E402
from claude_relay.store.audit import Actor  # noqa: E402
from claude_relay.store.clients.book import ClientBook  # noqa: E402
from claude_relay.store.ledger.rows import AttemptRow, RequestRow  # noqa: E402
from claude_relay.store.ledger.tables import Tables  # noqa: E402
from claude_relay.store.notices import NoticeBook  # noqa: E402
from claude_relay.store.shared.relays import RelayRow, Relays  # noqa: E402
from claude_relay.store.shared.state import State  # noqa: E402
from claude_relay.store.vault.records import NewKey, StoredKey  # noqa: E402
from claude_relay.store.vault.rows import moment  # noqa: E402
from claude_relay.store.vault.vault import Vault  # noqa: E402

IMAGES: Final = ROOT / "docs" / "images"
SIZE: Final = {"width": 1200, "height": 664}
PASSWORD: Final = "made up for a picture"
LARGEST: Final = 120_000
"""Bytes of a picture."""
PATIENCE: Final = 20.0
DAY: Final = 86_400.0
STORY: Final = "req_relay_01a21ed2e0e29314b978b839"
"""The request that is looked at."""
MODELS: Final = (("claude-opus-4-8", 0.03), ("claude-sonnet-5", 0.008), ("claude-haiku-4-5", 0.0015))
CLIENTS: Final = ("alice", "bob", "ci", "dora")
RELAY_YAML: Final = """
providers:
  anthropic: {preset: anthropic}
  zhipu: {preset: zhipu}
routes:
  - match: {model: "claude-haiku-*"}
    to: [zhipu, anthropic]
  - to: [anthropic, zhipu]
"""


def main(folder: Path) -> None:
    """All pictures, anew."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="claude-relay-pictures-") as own,
        panel(Path(own)) as url,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(base_url=url, viewport=SIZE, locale="en-US", timezone_id="UTC")
        sign_in(page)
        for name, path, scheme in (
            ("panel-overview", "/", "light"),
            ("panel-request", f"/requests/{STORY}", "light"),
            ("panel-keys", "/keys?provider=anthropic", "light"),
            ("panel-keys-dark", "/keys?provider=anthropic", "dark"),
        ):
            take(page, path, scheme, folder / f"{name}.png")
        chromium.close()


def sign_in(page: Page) -> None:
    """As a person does."""
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Newest requests").wait_for()


def take(page: Page, path: str, scheme: Any, file: Path) -> None:
    """One picture, of what is seen without scrolling, when its figures are there."""
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    page.wait_for_function("!document.querySelector('.skeleton')")
    page.screenshot(path=file)
    if (size := file.stat().st_size) > LARGEST:
        sys.exit(f"{file} has {size} bytes, more than {LARGEST}")


# -- what runs


@contextmanager
def panel(folder: Path) -> Iterator[str]:
    """Its address. The row of the made-up relay is kept fresh meanwhile."""
    [port] = free_ports(1)
    config, database = folder / "relay.yaml", folder / "relay.db"
    listen = f"{{proxy: null, base_url: '127.0.0.1:8082', status: null, panel: '127.0.0.1:{port}'}}"
    config.write_text(f"listen: {listen}\ndatabase: relay.db\n{RELAY_YAML}")
    row = filled(database, config)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "ANTHROPIC_"))}
    environ |= {"PYTHONPATH": str(ROOT / "addon"), "RELAY_CONFIG": str(config), "RELAY_ADMIN_PASSWORD": PASSWORD}
    over = threading.Event()
    saying = threading.Thread(target=say, args=(database, row, over))
    saying.start()
    command = [sys.executable, "-m", "claude_relay.panel"]
    with subprocess.Popen(command, env=environ, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            if "http" not in said:
                sys.exit(said + process.stderr.read())
            yield f"http://127.0.0.1:{port}"
        finally:
            over.set()
            saying.join()
            process.terminate()


def say(database: Path, row: dict[str, Any], over: threading.Event) -> None:
    """Once a second, as a relay does."""
    relays = Relays(database, patience=PATIENCE)
    while not over.is_set():
        relays.say(RelayRow(**row | {"seen_at": moment(time.time())}))
        over.wait(1.0)
    relays.close()


# -- what is made up


def filled(database: Path, config: Path) -> dict[str, Any]:
    """Keys, clients, a day and a half of requests, two notices. The row of the relay."""
    now, chance, me = time.time(), random.Random(7), Actor("admin", "panel", "127.0.0.1")
    vault = Vault(database, actor=me, environ={})
    for n in range(9):
        vault.add(NewKey("anthropic", f"sk-ant-api03-{chance.getrandbits(160):040x}", label=f"team {'abc'[n % 3]}"))
    for _ in range(4):
        vault.add(NewKey("zhipu", f"{chance.getrandbits(128):032x}.{chance.getrandbits(64):016x}"))
    keys = vault.list()
    vault.disable([keys[8].id])
    keys = vault.list()
    book = ClientBook(database)
    for name in CLIENTS:
        book.add(me, name, {})
    write(database, [*requests(now, chance), story(now - 41)])
    with closing(State(database)) as state:
        state.exchange(Shared((rest(keys[2], now + 161, "429: input tokens per minute", now),)), now)
        state.exchange(Shared((rest(keys[6], math.inf, "no credit left", now),)), now)
    notices = NoticeBook(database)
    notices.put(Notice(Kind.KEY_OUT, "anthropic/v7", "The key anthropic/v7 has no credit left.", now - 7200), now)
    notices.put(
        Notice(
            Kind.BUDGET_WARN,
            "opus",
            f"The budget 'opus': $41.00 of $50.00 spent. It lasts until {iso(now + DAY)[:10]} 00:00.",
            now - 900,
        ),
        now,
    )
    return relay(config, now, chance, [key for key in keys if key.enabled])


def rest(key: StoredKey, until: float, reason: str, now: float) -> dict[str, Any]:
    """A cooldown; without an end the key is out."""
    own = {"provider": key.provider, "key_id": key.id, "scope": "", "lifted": 0.0}
    return to_row(begin(until, now, reason, stated=True)) | own


def relay(config: Path, now: float, chance: random.Random, keys: list[StoredKey]) -> dict[str, Any]:
    """What it says of itself and of its keys."""
    pools: dict[str, Any] = {}
    load: dict[str, Any] = {}
    for key in keys:
        pool = pools.setdefault(key.provider, {"count": 0, "keys": [], "own": False})
        pool["count"] += 1
        pool["keys"].append({"alias": key.alias, "mask": key.mask, "source": "vault"})
        left = {name: round(chance.uniform(0.2, 0.98), 2) for name in ("requests", "input-tokens", "output-tokens")}
        own = {"until": None, "reason": "", "in_flight": chance.choice((0, 0, 0, 1, 2)), "used": 5}
        own |= {"headroom": min(left.values()), "limits": left, "state": "ready"}
        load.setdefault(key.provider, {})[key.alias] = own
    load["anthropic"]["v3"] |= {"state": "cooldown", "in_flight": 0, "reason": "429: input tokens per minute"}
    load["anthropic"]["v7"] |= {"state": "out", "in_flight": 0, "reason": "no credit"}
    row = {"id": "made-up", "pid": 1, "host": "relay", "version": "1", "started_at": moment(now - 3 * DAY)}
    row |= {
        "in_flight": 4,
        "config": str(config),
        "confdir": "",
        "listeners": json.dumps({"base_url": "127.0.0.1:8082"}),
    }
    return row | {"pools": json.dumps(pools), "load": json.dumps(load)}


type Written = tuple[RequestRow, tuple[AttemptRow, ...]]


def requests(now: float, chance: random.Random) -> Iterator[Written]:
    """Sessions over two days, most of them by day."""
    for number in range(110):
        at = now - 90 - chance.random() ** 1.4 * 2 * DAY
        session = f"{chance.getrandbits(32):08x}-5a1c-4d0e-9b7f-{chance.getrandbits(48):012x}"
        client, (model, price) = chance.choices(CLIENTS, (5, 3, 2, 1))[0], chance.choice(MODELS)
        for n in range(chance.randrange(4, 40)):
            at += chance.expovariate(1 / 45)
            if at > now - 60:
                break
            yield one(
                f"req_relay_{number:04x}{n:02x}{chance.getrandbits(72):018x}", at, chance, client, session, model, price
            )


def one(id: str, at: float, chance: random.Random, client: str, session: str, model: str, price: float) -> Written:
    """A request with its attempts."""
    provider = "zhipu" if "haiku" in model and chance.random() < 0.6 else "anthropic"
    key = f"v{chance.choice((1, 2, 4, 5, 6)) if provider == 'anthropic' else chance.randrange(1, 5)}"
    failed, first = chance.random() < 0.006, chance.lognormvariate(6.7, 0.4)
    length = first + chance.lognormvariate(8.0, 0.7)
    spent: dict[str, Any] = {
        "input_tokens": chance.randrange(40, 2400), "output_tokens": chance.randrange(80, 2600),
        "cache_read_tokens": chance.randrange(8000, 120_000), "cache_write_5m_tokens": chance.randrange(0, 6000),
    }  # fmt: skip
    spent["cost_usd"] = price * chance.uniform(0.4, 3.0)
    status, verdict = (529, "overloaded") if failed else (200, "ok")
    row = RequestRow(
        id=id, started_at=at, method="POST", path="/v1/messages", finished="error" if failed else "complete", attempts=1,
        stream=True, client=client, session=session, user_agent="claude-cli/2.1.330 (external, cli)",
        client_program="claude-cli", requested_model=model, served_model="glm-4.6" if provider == "zhipu" else model,
        provider=provider, key=key, status=status, error_type="overloaded_error" if failed else None, ttft_ms=first,
        duration_ms=length, priced_by="genai-prices", **({} if failed else spent),
    )  # fmt: skip
    attempt = AttemptRow(
        request=id, n=1, provider=provider, key=key, started_at=at, status=status, verdict=verdict,
        first_byte_ms=first, duration_ms=length, **({} if failed else spent),
    )  # fmt: skip
    return row, (attempt,)


def story(at: float) -> Written:
    """The one that met a limit and an overload before it was answered."""
    spent: dict[str, Any] = {
        "input_tokens": 212, "output_tokens": 481, "cache_read_tokens": 3100, "cache_write_5m_tokens": 9100, "cost_usd": 0.041,
    }  # fmt: skip
    row = RequestRow(
        id=STORY, started_at=at, method="POST", path="/v1/messages", finished="complete", attempts=3, stream=True,
        client="alice", session="6f0d2c4e-5a1c-4d0e-9b7f-0a1b2c3d4e5f", project="website", client_program="claude-cli",
        user_agent="claude-cli/2.1.330 (external, cli)", requested_model="claude-opus-4-8", served_model="claude-opus-4-8",
        provider="anthropic", key="v5", status=200, ttft_ms=2640.0, duration_ms=4900.0, priced_by="genai-prices",
        route="route 2: anthropic, zhipu", upstream_request_id="req_011CSHoEeqs5C35K2UUqR7Fy",
        request_bytes=48_210, response_bytes=9_120, cache_miss="messages[12]", cache_miss_tokens=9100, cache_miss_usd=0.041,
        **spent,
    )  # fmt: skip
    tries = (
        AttemptRow(
            request=STORY, n=1, provider="anthropic", key="v3", started_at=at, status=429, verdict="rate_limited",
            error="429 rate_limit_error: input tokens per minute", first_byte_ms=290.0, duration_ms=310.0,
        ),
        AttemptRow(
            request=STORY, n=2, provider="anthropic", key="v5", started_at=at + 0.34, status=529, verdict="overloaded",
            error="529 overloaded_error: Overloaded", first_byte_ms=820.0, duration_ms=840.0,
        ),
        AttemptRow(
            request=STORY, n=3, provider="anthropic", key="v5", started_at=at + 1.6, status=200, verdict="ok", waited_ms=400.0,
            first_byte_ms=990.0, duration_ms=3290.0, model="claude-opus-4-8", **spent,
        ),
    )  # fmt: skip
    return row, tries


def write(database: Path, rows: list[Written]) -> None:
    """As a relay does."""
    tables = Tables(database, patience=PATIENCE)
    tables.open()
    try:
        for start in range(0, len(rows), 200):
            tables.commit(rows[start : start + 200])
    finally:
        tables.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
