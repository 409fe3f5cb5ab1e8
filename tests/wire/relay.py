"""mitmproxy with addon/relay.py as it really runs: in this process (`Relay`) or in one of its own (`RelayProcess`).

    with Relay(folder, confdir, config(upstream.url, keys=["good-1"])) as relay:
        RawClient(relay.base_port)…

Ports are free ones, written into relay.yaml; mitmproxy's CA is made once (`make_confdir`). Real host names lead where
`hosts` says, and nowhere else: the event loop refuses every connection that would leave this machine. mitmproxy's `ctx`
is global, so only one `Relay` at a time can live in a process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import functools
import http.client
import itertools
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tornado.ioloop
from mitmproxy import certs, options
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.web.master import WebMaster

from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.store import authority
from waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "addon" / "relay.py"
HOSTS = ("api.anthropic.com", "claude.example.com", "claude.example", "other.example")
"""Those that tests intercept."""
LOCAL = ("127.0.0.1", "localhost", "::1")
OK_ERRORS = ("StreamReaderProtocol.connection_made.<locals>.callback(<Task cancell",)
"""Early releases of Python 3.12 report a client handler that was cancelled at the end of the loop as an error."""


def make_confdir(folder: Path) -> Path:
    """The CA, as a first start makes it; takes a moment, so it is shared by all tests of a run."""
    authority.ensure(folder, HOSTS)
    if not hasattr(
        certs.load_pem_private_key, "cache_clear"
    ):  # checking an RSA key takes longer than all else of a start
        certs.load_pem_private_key = functools.cache(certs.load_pem_private_key)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment.

    Below those that systems give to outgoing connections, and apart from those of tests that run beside these: what is free now
    stays free until the relay listens.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = 10_000 + 1_000 * (beside % 20) + next(_PORTS) % 1_000
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
        return found


_PORTS = itertools.count(os.getpid())


def provider(url: str, keys: Sequence[str] = (), **more: object) -> dict[str, object]:
    """A provider whose keys take turns, so that a test knows which is next."""
    return {"format": "anthropic", "base_url": url, "keys": list(keys), "strategy": "round-robin"} | more


def config(
    url: str = "", keys: Sequence[str] = (), *, providers: Mapping[str, object] | None = None, **sections: Any
) -> dict[str, Any]:
    """relay.yaml as a dict: one provider `anthropic` at `url`, or those given, tried in their order."""
    found = dict(providers) if providers is not None else {"anthropic": provider(url, keys)}
    return {
        "database": "relay.db",
        "intercept": {"hosts": ["api.anthropic.com"]},
        "providers": found,
        "routes": [{"to": list(found)}],
        "retry": {"attempts": 5, "max_wait": "2s", "first_byte": "30s", "idle": "30s"},
    } | sections


def _yaml(text: dict[str, Any], proxy_port: int, base_port: int) -> str:
    """JSON is YAML. The ports go into `listen`, beside what a test has put there."""
    ports = {"proxy": f"127.0.0.1:{proxy_port}", "base_url": f"127.0.0.1:{base_port}", "panel": None, "status": None}
    return json.dumps(text | {"listen": ports | text.get("listen", {})}, indent=2)


def rows(database: Path, table: str = "requests") -> list[dict[str, Any]]:
    """What the ledger holds, oldest first; read as any other program would read it."""
    with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        order = {
            "requests": "started_at, rowid",
            "attempts": "started_at, request, n",
            "charges": "request, attempt, n",
        }[table]
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]


class WebUi:
    """mitmweb's JSON API, asked over HTTP as its page in the browser asks it."""

    PASSWORD = "let-the-test-in"
    TOKEN = "0123456789abcdef0123456789abcdef"

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> bytes:
        """The body of an answer; fails on anything but 200."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.PASSWORD}"})
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, (path, answer.status, body)
        return body

    def put(self, path: str, document: object) -> None:
        """Change something, as the editors of the page do."""
        self.send("PUT", path, document)

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        """What the page's command bar gets: `value` or `error`."""
        found: dict[str, Any] = json.loads(self.send("POST", f"/commands/{name}", {"arguments": arguments}))
        return found

    def replay(self, flow: Mapping[str, Any]) -> None:
        """The button."""
        self.send("POST", f"/flows/{flow['id']}/replay", {})

    def send(self, method: str, path: str, document: object) -> bytes:
        """The body of an answer; fails on errors."""
        token = {"Cookie": f"_mitmproxy_xsrf={self.TOKEN}", "X-XSRFToken": self.TOKEN}
        headers = token | {"Authorization": f"Bearer {self.PASSWORD}", "Content-Type": "application/json"}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, json.dumps(document), headers)
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status < 300, (path, answer.status, body)
        return body

    def flows(self) -> list[dict[str, Any]]:
        """The list of flows, oldest first."""
        found: list[dict[str, Any]] = json.loads(self.get("/flows"))
        return found

    def body(self, flow: Mapping[str, Any], message: str = "response") -> bytes:
        return self.get(f"/flows/{flow['id']}/{message}/content.data")

    def page(self, flow: Mapping[str, Any], message: str = "response", view: str = "Auto") -> dict[str, Any]:
        """A body as the page in the browser shows it: `text`, `view_name` and more."""
        found: dict[str, Any] = json.loads(self.get(f"/flows/{flow['id']}/{message}/content/{view}.json"))
        return found

    def option(self, name: str) -> Any:
        return json.loads(self.get("/options"))[name]["value"]


class _Loop(asyncio.SelectorEventLoop):
    """Leads the world's host names to this machine's ports, and refuses to leave the machine."""

    def __init__(self, hosts: Mapping[str, int]) -> None:
        super().__init__()
        self.hosts = hosts
        self.dialled: list[str] = []
        self.changed = threading.Condition()
        self.transports: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        name = f"{host}:{port}"
        with self.changed:
            self.dialled.append(name)
            self.changed.notify_all()
        if name in self.hosts:
            host, port = "127.0.0.1", self.hosts[name]
        elif str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        elif host not in LOCAL:
            raise OSError(errno.ENETUNREACH, f"tests do not leave this machine: {name}")
        transport, protocol = await super().create_connection(factory, host, port, **more)
        self.transports.add(transport)
        return transport, protocol


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()


class RelayFailed(AssertionError):
    """The relay did not start, or logged an error nobody expected."""


class Relay:
    """mitmproxy with the relay in a thread.

    folder     holds relay.yaml and the database
    text       relay.yaml: a dict (see `config`), YAML text, or None for no file. `listen` is added to a dict.
    hosts      "api.anthropic.com:443" → port on this machine
    environ    variables for ${…}, set while the relay lives
    patience   seconds that the start may take: each new key costs one slow hash
    settings   mitmproxy options besides; `upstream_ca`: trusted for upstreams with TLS
    """

    _alive = threading.Lock()

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        text: dict[str, Any] | str | None,
        *,
        upstream_ca: Path | None = None,
        hosts: Mapping[str, int] | None = None,
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        web: bool = False,
        script: Path = SCRIPT,
        ports: tuple[int, int] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.patience = patience
        self.folder, self.confdir, self.script, self.web = folder, confdir, script, web
        self.proxy_port, self.base_port = ports or tuple(free_ports(2))
        self.hosts, self.environ = dict(hosts or {}), dict(environ or {})
        self.settings = dict(settings or {})
        if web:
            self.web_ui = WebUi(free_ports(1)[0])
            page = {"web_host": "127.0.0.1", "web_port": self.web_ui.port, "web_open_browser": False}
            self.settings = page | {"web_password": WebUi.PASSWORD} | self.settings
        if upstream_ca is not None:
            self.settings["ssl_verify_upstream_trusted_ca"] = str(upstream_ca)
        self.config_file = folder / "relay.yaml"
        if text is not None:
            self.write_config(text)
        self.logs = _Collector()
        self.expected: list[str] = [*OK_ERRORS]
        self.ca_file = confdir / "mitmproxy-ca-cert.pem"

    def write_config(self, text: dict[str, Any] | str) -> None:
        """Writes relay.yaml (in one go, as an editor does), also while the relay runs."""
        if isinstance(text, dict):
            text = _yaml(text, self.proxy_port, self.base_port)
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_file)

    # -- life
    def __enter__(self) -> Relay:
        assert self._alive.acquire(timeout=PATIENCE), "another Relay is alive in this process"
        sys.modules.pop("claude_relay.proxy.script", None)  # a new process would build its addon anew, too
        self._kept = {name: os.environ.get(name) for name in self.environ}
        os.environ.update(self.environ)
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        for name in ("hpack", "tornado", "asyncio", "quic"):  # as mitmproxy's own main does
            logging.getLogger(name).setLevel(logging.WARNING)
        root.addHandler(self.logs)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._live, name="relay")
        self._thread.start()
        try:
            self._ready.result(self.patience)
        except BaseException as problem:
            self._end()
            raise RelayFailed(f"the relay did not start: {problem!r}\n{self.log_text()}") from problem
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end()
        assert not self._thread.is_alive(), f"the relay does not stop\n{self.log_text()}"
        if kind is None and (found := self.unexpected()):
            raise RelayFailed("errors in the log:\n" + "\n".join(found))

    def _end(self) -> None:
        with contextlib.suppress(AttributeError, RuntimeError):
            self.master.shutdown()
        self._thread.join(PATIENCE)
        root = logging.getLogger()
        root.removeHandler(self.logs)
        root.setLevel(self._level)
        for name in ("mitmproxy.proxy.server", "mitmproxy.proxy.layer"):  # the relay quietens them
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, value in self._kept.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        self._alive.release()

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: _Loop(self.hosts)) as runner:
                runner.run(self._main())
            problem: BaseException = RuntimeError("mitmproxy ended")
        except BaseException as caught:
            problem = caught
        if not self._ready.done():
            self._ready.set_exception(RuntimeError(f"{type(problem).__name__}: {problem}"))

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)
        self.loop = loop
        opts = options.Options()
        kind = WebMaster if self.web else DumpMaster
        self.master = kind(opts)
        # mitmproxy's own listener, which the relay replaces: on its usual port, workers would be in each other's way.
        own = {"listen_host": "127.0.0.1", "listen_port": 0}
        given = own | {"confdir": str(self.confdir), "scripts": [str(self.script)]} | self.settings
        opts.update(**{name: value for name, value in given.items() if name in opts})
        later = {"relay_config": str(self.config_file)} | {n: v for n, v in given.items() if n not in opts}
        opts.set(*(f"{name}={value}" for name, value in later.items()), defer=True)
        watching = asyncio.ensure_future(self._watch())
        try:
            await self.master.run()
        finally:
            watching.cancel()
            await self._close_all()

    async def _close_all(self) -> None:
        """A process that ends needs no closing of sockets; a thread does."""
        server = self.master.addons.get("proxyserver")
        await server.servers.update([])
        if self.web:
            pages = tornado.ioloop.IOLoop.current()
            for fd, (held, _) in list(pages.handlers.items()):
                pages.remove_handler(fd)
                pages.close_fd(held)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for handler in list(server.connections.values()):
            for io in handler.transports.values():
                if isinstance(io.writer, asyncio.StreamWriter):
                    io.writer.transport.abort()
        for transport in self.loop.transports:  # also those that are still being written to
            transport.abort()  # type: ignore[attr-defined]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # what the transports call when they are closed

    async def _watch(self) -> None:
        """Ready as soon as both listeners are there."""
        server = self.master.addons.get("proxyserver")
        while not {self.proxy_port, self.base_port} <= {a[1] for a in server.listen_addrs()}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self._ready.set_result(None)

    # -- what it said
    def expect_error(self, *words: str) -> None:
        """Errors in the log that contain one of these are right."""
        self.expected += words

    def unexpected(self) -> list[str]:
        errors = [_line(r) for r in self.logs.records if r.levelno >= logging.ERROR]
        return [line for line in errors if not any(word in line for word in self.expected)]

    def log_text(self) -> str:
        return "\n".join(_line(r) for r in self.logs.records)

    def wait_for_log(self, words: str, count: int = 1, timeout: float = PATIENCE) -> str:
        """Waits until so many lines of the log contain the words; returns the last of them."""

        def found() -> list[str]:
            return [line for line in map(_line, self.logs.records) if words in line]

        with self.logs.changed:
            if not self.logs.changed.wait_for(lambda: len(found()) >= count, timeout):
                raise TimeoutError(f"{words!r} never stood in the log:\n{self.log_text()}")
        return found()[-1]

    def wait_until_clients_left(self, timeout: float = PATIENCE) -> None:
        """Waits until mitmproxy has noticed that every client has closed its connection, and what they asked for is written down."""
        server = self.master.addons.get("proxyserver")
        ports = {self.proxy_port, self.base_port}

        def busy() -> bool:
            flows = (flow for held in RELAYED.keyrefs() if (flow := held()) is not None)
            return bool(server.connections) or any(flow.client_conn.sockname[1] in ports for flow in flows)

        eventually(lambda: not self.on_loop(busy), lambda: f"clients are still there\n{self.log_text()}")

    def wait_until_upstreams_left(self, timeout: float = PATIENCE) -> None:
        """Waits until mitmproxy has noticed that every upstream has closed its connection."""
        server = self.master.addons.get("proxyserver")
        eventually(
            lambda: (
                not (self.on_loop(lambda: any(len(handler.transports) > 1 for handler in server.connections.values())))
            ),
            lambda: "upstreams are still there",
        )

    @property
    def dialled(self) -> list[str]:
        """Where the relay has tried to connect to: "host:port"."""
        return list(self.loop.dialled)

    def wait_for_dial(self, name: str, timeout: float = PATIENCE) -> None:
        """Waits until the relay tries to connect to "host:port"."""
        with self.loop.changed:
            if not self.loop.changed.wait_for(lambda: name in self.loop.dialled, timeout):
                raise TimeoutError(f"never dialled {name}, only {self.loop.dialled}")

    @property
    def database(self) -> Path:
        return self.folder / "relay.db"

    def on_loop(self, work: Any) -> Any:
        """Runs `work()` on the relay's loop and returns what it returns, or raises what it raises."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def working() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(working)
        return done.result(PATIENCE)


def _line(record: logging.LogRecord) -> str:
    text = f"{record.levelname} {record.name}: {record.getMessage()}"
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


class RelayProcess:
    """`mitmdump -s addon/relay.py` as a process: for what only a process can show, such as kill -9."""

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        text: dict[str, Any] | str | None,
        *,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        cwd: Path = ROOT,
    ) -> None:
        self.folder, self.cwd = folder, cwd
        self.proxy_port, self.base_port = free_ports(2)
        self.config_file = folder / "relay.yaml"
        if isinstance(text, dict):
            text = _yaml(text, self.proxy_port, self.base_port)
        if text is not None:
            self.config_file.write_text(text)
        mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-s", str(SCRIPT)]
        self.command = [*(command or mitmdump), "--set", f"confdir={confdir}", *arguments]
        if text is not None:
            self.command += ["--set", f"relay_config={self.config_file}"]
        self.environ = {**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})}
        self.ca_file = confdir / "mitmproxy-ca-cert.pem"
        self.output_file = folder / "output.txt"

    def __enter__(self) -> RelayProcess:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(PATIENCE)

    def start(self) -> None:
        """Starts (again) and returns when both ports answer."""
        with self.output_file.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        ports = (self.proxy_port, self.base_port)
        eventually(lambda: self.process.poll() is not None or all(map(_answers, ports)), self.output)
        if self.process.poll() is not None:
            raise RelayFailed(f"the relay did not start (exit {self.process.poll()}):\n{self.output()}")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    @property
    def database(self) -> Path:
        return self.folder / "relay.db"


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
