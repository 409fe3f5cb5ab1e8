"""What `doctor` looks at on this machine: each function looks at one thing and says what it found and what to do.

No finding holds a secret: of keys it gives numbers and lines.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from claude_relay.core.config import LOOPBACK, Address, Config, ConfigError, literals
from claude_relay.core.config.listening import far, near
from claude_relay.core.config.locate import overlooked, state_folder, usual_file
from claude_relay.core.config.mistaken import mistaken
from claude_relay.core.installation import ADDON, command
from claude_relay.core.shells import ADDING, REPLACING
from claude_relay.store import authority as ca
from claude_relay.store.db.soundness import ELSEWHERE, Soundness, examine, room
from claude_relay.store.vault.named_proxies import KIND
from claude_relay.store.vault.secret import ENVIRONMENT, FILE, KEYRING, VARIABLE, SecretFile
from claude_relay.store.vault.vault import Vault, VaultError

from . import certificates, pools
from .console.common import Source, shown_path
from .console.ports import listeners, why_not
from .console.running import NONE, Found, is_relay
from .console.running import health as running_health

OK, WARN, FAIL = "ok", "warn", "fail"
TESTED = ((3, 12), (3, 13), (3, 14))
LOCK = ADDON.parent / "requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)(.*)$", re.MULTILINE)
PLACES = {ENVIRONMENT: VARIABLE, KEYRING: "the system's keyring"}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` is empty when there is nothing to do."""

    name: str
    status: str
    found: str
    remedy: str = ""


def python() -> Check:
    """Python's version."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] > TESTED[-1]:
        return Check("python", WARN, found, "newer than what is tested; if something fails, use 3.14")
    return Check("python", OK, found)


def packages(lock: Path = LOCK) -> Iterator[Check]:
    """Installed packages against the lock file; in an installed package there is none, and pip has checked them."""
    if not lock.is_file():
        yield Check("packages", OK, f"mitmproxy {version('mitmproxy')}, installed with the package")
        return
    pins = locked(lock.read_text("utf-8"))
    pins.pop("pip", None)  # only the installer; it may be of any version
    wrong = {name: reason for name, allowed in pins.items() if (reason := _wrong(name, allowed))}
    missing = [name for name, reason in wrong.items() if reason == "missing"]
    remedy = (
        "run scripts/relay, which installs them"
        if missing
        else "delete .venv and run scripts/relay, which makes it anew"
    )
    if wrong:
        yield Check("packages", FAIL if missing else WARN, "; ".join(f"{n}: {r}" for n, r in wrong.items()), remedy)
    else:
        yield Check("packages", OK, f"{len(pins)} as in {lock.name}, mitmproxy {version('mitmproxy')}")


def locked(text: str) -> dict[str, tuple[set[str], bool]]:
    """Name → the versions a lock file allows, and whether the package is needed everywhere (no marker)."""
    pins: dict[str, tuple[set[str], bool]] = {}
    for name, pinned, conditions in _PIN.findall(text):
        versions, everywhere = pins.get(name, (set(), False))
        pins[name] = (versions | {pinned}, everywhere or ";" not in conditions)
    return pins


def _wrong(name: str, allowed: tuple[set[str], bool]) -> str | None:
    versions, everywhere = allowed
    try:
        found = version(name)
    except PackageNotFoundError:
        return "missing" if everywhere else None
    return None if found in versions else f"{found} instead of {' or '.join(sorted(versions))}"


def broken(error: ConfigError) -> Iterator[Check]:
    """One failed check a problem."""
    for problem in error.problems:
        yield Check("configuration", FAIL, str(problem))


def configuration(source: Source, relay: Found = NONE) -> Iterator[Check]:
    """Which file is in force, how many keys there are with those of the vault or in the running relay, and what is allowed but unwise."""
    config = source.config
    keys = dict.fromkeys(config.providers, 0) | dict(pools.counts(config, relay.row))
    place = shown_path(source.path) if source.path else f"defaults, as there is no {usual_file(os.environ)}"
    counts = ", ".join(f"{name}: {_keys(count)}" for name, count in keys.items())
    yield Check("configuration", OK, f"{place}; {counts}")
    if other := overlooked(source.path, Path.cwd()):
        yield Check("configuration", WARN, f"./{other.name} is not used", f"to use it: RELAY_CONFIG=./{other.name}")
    for line, name, where in literals(source.text):
        what = f"a key of {name}" if name else where
        write = f'keys: ["${{{_variable(name)}_API_KEYS}}"]' if name else f'{where}: "${{RELAY_{_variable(where)}}}"'
        yield Check(
            "keys", WARN, f"{place}:{line}: {what} stands in the file", f"put it into a variable and write {write}"
        )
    for name, provider in config.providers.items():
        if not keys[name] and provider.empty_pool == "reject":
            remedy = f"set the variable that its keys name, or: {command('keys')} add --provider {name}"
            if provider.auth.oauth:
                remedy = f"log in with an account: {command('accounts')} login --provider {name}"
            yield Check("keys", WARN, f"{name} has no key and refuses its requests", remedy)
        if provider.base_url.startswith("http://") and not _is_local(provider.base_url):
            yield Check("keys", WARN, f"{name} gets its keys unencrypted", "use https:// in its base_url")
    for mistake in mistaken(config):
        yield Check("configuration", WARN, *mistake)
    if kinds := ", ".join(dict.fromkeys(rule.fault for rule in config.faults)):
        remedy = "for work, take `faults` out of relay.yaml"
        yield Check("faults", WARN, f"requests fail on purpose: {kinds}", remedy)
    for name, address in listeners(config):
        if address.host not in LOOPBACK:
            yield _open_listener(name, address)


def _open_listener(name: str, address: Address) -> Check:
    if name in ("proxy", "base_url"):
        found = f"listen.{name} is open to the network: programs on other machines need a client key at {address}"
        return Check("listeners", OK, found, f"make one: {command('clients')} add NAME")
    return Check(
        "listeners", WARN, f"listen.{name} is open to the network: anybody reads {address}", "listen on 127.0.0.1"
    )


def relay(found: Found) -> Iterator[Check]:
    """The relay that runs, and how its keys are."""
    if found.row is None:
        text, _, remedy = found.why.partition("; ")
        yield Check("relay", WARN, text, remedy.replace("start it: ", "start it:\n"))
    else:
        row = found.row
        where = f"{row.config or 'defaults'}, process {row.pid}" + ("" if found.is_here else f" on {row.host}")
        yield Check("relay", OK, f"runs since {row.started_at[:16].replace('T', ' ')} UTC with {where}")
        for name, keys in row.keys().items():
            if trouble := Counter(key["state"] for key in keys if key["state"] != "ready"):
                states = ", ".join(f"{count} {state}" for state, count in trouble.items())
                status = WARN if trouble["out"] else OK
                yield Check("relay", status, f"{name}: of {_keys(len(keys))} {states}", f"see: {command('keys')} list")
    for row in found.others:
        at = " and ".join(json.loads(row.listeners).values())
        yield Check("relay", OK, f"another one runs over this database: {row.config or 'defaults'}, at {at}")


def health(found: Found, source: Source) -> Iterator[Check]:
    """What the relay that runs says of itself: its /healthz."""
    said = running_health(found, source)
    if said is None:
        return
    serves, problems = said
    for problem in problems:
        yield Check("health", WARN if serves else FAIL, problem)
    if not problems:
        yield Check("health", OK, "the relay reports no problem")


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII).upper()


def _keys(count: int) -> str:
    return "no key" if not count else f"{count} key{'s' if count > 1 else ''}"


def _is_local(url: str) -> bool:
    return re.match(r"http://(?:[^/]*@)?(\[[^\]]*\]|[^:/]*)", url)[1].strip("[]") in LOOPBACK  # type: ignore[index]


def listening(source: Source) -> Iterator[Check]:
    """Each port: free, held by a relay, or held by another program."""
    for name, address in listeners(source.config):
        reason = why_not(address)
        if reason is None:
            yield Check(name, OK, f"{address} is free")
        elif is_relay(name, address.reachable, source.config.intercept.hosts[0]):
            yield Check(name, OK, f"a relay listens on {address}")
        else:
            yield Check(name, FAIL, f"{address}: {reason}", f"or change listen.{name}")


def authority(confdir: Path, hosts: Sequence[str] = (), *, now: datetime | None = None) -> Check:
    """The CA's certificate, and whether it is good for these hosts."""
    path = confdir / certificates.CA
    try:
        found = ca.certificate(confdir)
        expires = found.not_valid_after_utc
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if obstacle := ca.obstacle(confdir):
            what = "no CA can be made in {}: {}".format(*obstacle)
            return Check("ca", FAIL, what, "name another folder: --set confdir=DIR")
        if isinstance(error, PermissionError):
            return Check("ca", FAIL, f"{path} may not be read", "name another folder: --set confdir=DIR")
        return Check(
            "ca", WARN, f"{path} does not exist yet", f"{command('env')} makes it, and so does the first start"
        )
    except (OSError, ValueError):
        remedy = f"delete the files mitmproxy-ca* in {confdir}; the next start makes new ones"
        return Check("ca", FAIL, f"{path} is no readable certificate", remedy)
    if expires < (now or datetime.now(UTC)):
        remedy = f"delete the files mitmproxy-ca* in {confdir}, run {command('env')} again in every shell"
        return Check("ca", FAIL, f"{path} ended on {expires:%Y-%m-%d}", remedy)
    if why := ca.misfit(confdir, hosts):
        return Check("ca", FAIL, *why.split("; ", 1))
    whose = "for the intercepted hosts only" if ca.is_constrained(found) else "mitmproxy's own, for any host"
    return Check("ca", OK, f"{path}, {whose}, until {expires:%Y-%m-%d}")


def shell(config: Config, confdir: Path, environ: Mapping[str, str]) -> Check:
    """Does this shell lead its programs through the relay, and do they trust it?"""
    proxy, base_url = config.listen.proxy, config.listen.base_url
    if base_url and environ.get("ANTHROPIC_BASE_URL", "").rstrip("/") in _urls(config, base_url):
        return Check("shell", OK, "ANTHROPIC_BASE_URL leads to the relay")
    used = environ.get("https_proxy") or environ.get("HTTPS_PROXY") or ""
    if not proxy or used.rstrip("/") not in _urls(config, proxy):
        found = "programs of this shell do not go through the relay"
        return Check(
            "shell", WARN, found, f'eval "$({command("env")})"\nor for one program: {command("env")} -- claude'
        )
    distrusting = [name for name in (*ADDING, *REPLACING) if not _trusts(environ, name, confdir)]
    if distrusting:
        found = f"HTTPS_PROXY leads to the relay, but its CA is not in {', '.join(distrusting)}"
        return Check("shell", FAIL, found, f'eval "$({command("env")})"')
    return Check("shell", OK, "HTTPS_PROXY leads to the relay, and its CA is trusted")


def _urls(config: Config, address: Address) -> tuple[str, ...]:
    return address.url, near(config.listen, address), far(config.listen, address)


def _trusts(environ: Mapping[str, str], name: str, confdir: Path) -> bool:
    try:
        return (confdir / certificates.CA).read_bytes().strip() in Path(environ[name]).read_bytes()
    except (OSError, KeyError):
        return False


def database(path: Path) -> Check:
    """Does it open, can it be written, are its tables this version's?"""
    return _sound(examine(path)) if path.exists() else _new_database(path)


def _sound(found: Soundness) -> Check:
    return Check("database", found.level.value, found.text, found.remedy)


def vault(path: Path, environ: Mapping[str, str]) -> Check:
    """Can the keys in the database be opened, and does nobody else read the secret?"""
    keeper = Vault(path, environ=environ)
    try:
        found = keeper.inspect()
    except VaultError as error:
        return Check("vault", FAIL, str(error))
    if not (found.keys or found.problem or found.damaged):
        return Check("vault", OK, "no key in it")
    if found.problem:
        return Check("vault", FAIL, found.problem)
    if found.damaged:
        keys = [name for name in found.damaged if not name.startswith(KIND)]
        proxies = [name.removeprefix(f"{KIND} ") for name in found.damaged if name.startswith(KIND)]
        remedies = [f"{command('keys')} remove --forever {' '.join(keys)}"] if keys else []
        remedies += [f"{command('keys')} proxies remove {' '.join(proxies)}"] if proxies else []
        remedy = f"{' and '.join(remedies)}, then add them again"
        return Check("vault", FAIL, f"damaged: {', '.join(found.damaged)}", remedy)
    return _secret_place(SecretFile(path), _keys(found.keys), found.place or "")


def _secret_place(file: SecretFile, keys: str, place: str) -> Check:
    if place != FILE:
        return Check("vault", OK, f"{keys}, sealed with {PLACES[place]}")
    found = f"{keys}, sealed with {file}"
    if file.readable_by_others():
        return Check("vault", WARN, f"{found}, which others may read", f"chmod 600 {file}")
    return Check("vault", OK, f"{found}; keep that file out of the database's backups, or set {VARIABLE}")


def _new_database(path: Path) -> Check:
    folder = path.parent
    if folder == state_folder(os.environ):  # made at the first start, with what is missing above it
        folder = next(above for above in (folder, *folder.parents) if above.exists())
    if folder.is_dir() and os.access(folder, os.W_OK):
        little = room(folder / path.name)
        return (
            _sound(little) if little is not None else Check("database", OK, f"{path} will be made at the first start")
        )
    return Check("database", FAIL, f"{path} cannot be made: its folder is missing or may not be written to", ELSEWHERE)
