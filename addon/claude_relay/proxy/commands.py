"""The relay from mitmproxy's own console: `relay.keys`, `relay.cooldown`, `relay.disable`, `relay.enable`, `relay.default`, `relay.reload`,
`relay.fault`, `relay.replay`, `relay.duel`, `relay.export`.

They work in mitmproxy's command prompt and in mitmweb. A key is named as everywhere, `anthropic/k2`, and completed. `relay.disable`
and `relay.cooldown` last until they are lifted or the relay ends; keys of the vault are switched for good with `scripts/keys`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from mitmproxy import command, exceptions, types

from claude_relay.core.config.rules import fault_rule, in_words
from claude_relay.core.exchange import Key
from claude_relay.core.faults import Faults
from claude_relay.core.keys.cooldown import BY_HAND
from claude_relay.core.keys.pool import Pool

from .banner import say_what_fails
from .common.clock import NOW
from .exporting import Exporting
from .recordings import Recordings
from .running.runtime import Runtime

KEEP_TEXTS: Final = "texts"
TEXTS: Final = (KEEP_TEXTS, "no-texts")
"""Whether `relay.export` keeps prompts and answers."""


class RelayCommands:
    """Commands over the pools of the running relay."""

    name = "claude_relay_commands"

    def __init__(
        self,
        runtime: Callable[[], Runtime | None],
        reload: Callable[[], None],
        set_default: Callable[[str | None], None],
        faults: Faults,
        recordings: Recordings,
        exporting: Exporting,
    ) -> None:
        self.runtime = runtime
        self.read_again = reload
        self.set_default = set_default
        self.faults = faults
        self.recordings = recordings
        self.exporting = exporting

    @command.command("relay.keys")
    def keys(self) -> types.Data:
        """Every key of every pool: name, state, until when, why, requests under way and in all, share of its limit that is left."""
        now, ahead = NOW(), NOW.ahead()
        rows = [["key", "state", "until", "reason", "in flight", "used", "left"]]
        for pool in self.pools():
            for key in pool.state(now).keys:
                until = "" if key.until is None else time.strftime("%H:%M:%S", time.localtime(key.until - ahead))
                counts = [str(key.in_flight), str(key.used), f"{key.headroom:.0%}"]
                rows.append([f"{pool.provider}/{key.alias}", key.status, until, key.reason, *counts])
        return cast(types.Data, rows)

    @command.command("relay.names")
    def names(self) -> Sequence[str]:
        """The names of all keys, for completion."""
        return [f"{pool.provider}/{key.alias}" for pool in self.pools() for key in pool.keys]

    @command.command("relay.cooldown")
    @command.argument("key", type=types.Choice("relay.names"))
    def cooldown(self, key: str, seconds: int) -> None:
        """Give a key a cooldown of so many seconds. One is never shortened by this."""
        if seconds < 1:
            raise exceptions.CommandError("a cooldown takes at least 1 second")
        self.cooldown_until(key, NOW() + seconds)

    @command.command("relay.disable")
    @command.argument("key", type=types.Choice("relay.names"))
    def disable(self, key: str) -> None:
        """Take a key out until `relay.enable`, or until the relay ends."""
        self.cooldown_until(key, math.inf)

    @command.command("relay.enable")
    @command.argument("key", type=types.Choice("relay.names"))
    def enable(self, key: str) -> None:
        """End every cooldown of a key, also those that a provider asked for."""
        pool, found = self.find(key)
        pool.cooldowns.lift(found.id)

    @command.command("relay.default")
    def default(self, target: str = "") -> str:
        """Send every request to PROVIDER or PROVIDER/MODEL first, whatever the routes say; without a name: follow relay.yaml again."""
        runtime = self.runtime()
        provider, slash, model = target.partition("/")
        if slash and not model:
            raise exceptions.CommandError("name a model after the slash, or leave the slash out")
        if runtime is None or (target and provider not in runtime.config.providers):
            known = ", ".join(runtime.config.providers) if runtime is not None else ""
            raise exceptions.CommandError(f"no provider has the name {provider}; there are: {known or 'none'}")
        self.set_default(target or None)
        return f"requests go to {target} first" if target else "requests go where relay.yaml says"

    @command.command("relay.fault")
    @command.argument("action", type=types.Choice("relay.fault.actions"))
    def fault(self, action: str, *rule: str) -> types.Data:
        """Let requests fail on purpose: `add 529 attempt=1 model=claude-opus-*`, `list`, or `clear`, relay.yaml's rules included."""
        try:
            FAULT_ACTIONS[action](self, rule)
        except KeyError:
            raise exceptions.CommandError(f"{action} is none of: {', '.join(FAULT_ACTIONS)}") from None
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from None
        rows = [["fault", "left", "rule"]]
        for armed in self.faults.armed:
            left = "" if math.isinf(armed.left) else f"{armed.left:g}"
            rows.append([str(armed.fault), left, in_words(armed.rule)])
        return cast(types.Data, rows)

    @command.command("relay.fault.actions")
    def fault_actions(self) -> Sequence[str]:
        """What `relay.fault` can do, for completion."""
        return list(FAULT_ACTIONS)

    def add_fault(self, words: Sequence[str]) -> None:
        """One more rule. Raises ValueError."""
        self.faults.add(fault_rule(words))
        say_what_fails(self.faults)

    def list_faults(self, words: Sequence[str]) -> None:
        """Nothing changes. Raises ValueError."""
        if words:
            raise ValueError("list takes no rule")

    def clear_faults(self, words: Sequence[str]) -> None:
        """No rules any more. Raises ValueError."""
        if words:
            raise ValueError("clear takes no rule: it takes away all of them")
        self.faults.arm(())
        say_what_fails(self.faults)

    @command.command("relay.replay")
    def replay(self, flow: str, target: str = "") -> str:
        """Send flows or the requests in a file again, as new ones: to PROVIDER, PROVIDER/MODEL or PROVIDER/KEY, or by the routes."""
        return self.recordings.replay(flow, target)

    @command.command("relay.duel")
    def duel(self, flow: str, *targets: str) -> str:
        """Send flows, or the requests in a file, to several targets, and say in the log how their answers differ."""
        return self.recordings.duel(flow, targets)

    @command.command("relay.export")
    @command.argument("path", type=types.Path)
    def export(self, form: str, flows: str, path: str, texts: str = KEEP_TEXTS) -> str:
        """Write flows, or those in a file, without credentials and ids of accounts: `relay.export har @all report.har no-texts`."""
        if texts not in TEXTS:
            raise exceptions.CommandError(f"{texts}: say {' or '.join(TEXTS)}, or nothing to keep them")
        return self.exporting.export(form, flows, path, texts=texts != KEEP_TEXTS)

    @command.command("relay.reload")
    def reload(self) -> None:
        """Read relay.yaml again now, changed or not."""
        self.read_again()

    def cooldown_until(self, name: str, until: float) -> None:
        """A cooldown that a person asked for; it ends without a probe."""
        pool, key = self.find(name)
        now = NOW()
        pool.cooldowns.extend(
            key.id, "", until=until, now=now, reason=BY_HAND, stated=math.isfinite(until), recheck=math.inf
        )

    def find(self, name: str) -> tuple[Pool, Key]:
        """The pool and key of a name. Raises CommandError with the known names."""
        for pool in self.pools():
            for key in pool.keys:
                if f"{pool.provider}/{key.alias}" == name:
                    return pool, key
        raise exceptions.CommandError(f"no key has the name {name}; there are: {', '.join(self.names()) or 'none'}")

    def pools(self) -> Iterator[Pool]:
        """The pools as they are now."""
        runtime = self.runtime()
        yield from () if runtime is None else runtime.pools.values()


FAULT_ACTIONS: Final = {
    "add": RelayCommands.add_fault,
    "list": RelayCommands.list_faults,
    "clear": RelayCommands.clear_faults,
}
