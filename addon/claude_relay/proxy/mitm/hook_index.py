"""Which addon listens to which hook.

mitmproxy asks each of its roughly 35 addons for each hook of each flow, and once more for the `update` hook that follows:
about half of mitmdump's time.
The index asks once per hook name and then calls only those that answered. It is exact: it is thrown away whenever addons come or go, also
inside addons that carry others (the script loader), and a handler is looked up on its addon at each call, as mitmproxy does.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from types import CoroutineType
from typing import Any

from mitmproxy import addonmanager, exceptions, flow, hooks, http


class HookIndex:
    """Stands in for `AddonManager.trigger_event` and `handle_lifecycle` of one manager."""

    def __init__(self, manager: addonmanager.AddonManager) -> None:
        self.manager = manager
        self.chain: list[Any] = []
        self.length = -1
        self.groups: dict[str, list[list[Any]]] = {}
        self.carriers: list[tuple[Any, list[Any]]] = []

    def install(self) -> None:
        """Take over the two methods."""
        self.manager.trigger_event = self.trigger_event  # type: ignore[method-assign]
        self.manager.handle_lifecycle = self.handle_lifecycle  # type: ignore[method-assign]

    def remove(self) -> None:
        """Give them back."""
        for name in ("trigger_event", "handle_lifecycle"):
            self.manager.__dict__.pop(name, None)

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        """A hook of the proxy core, and for flows the `update` that follows it."""
        args = event.args()
        if listeners := self.listeners(event.name):
            await self.call(listeners, event.name, args)
        # Asked of flows, `isinstance` goes through the abstract class that they come from.
        if (type(args[0]) is http.HTTPFlow or isinstance(args[0], flow.Flow)) and (
            listeners := self.listeners("update")
        ):
            await self.call(listeners, "update", [[args[0]]])

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every handler of a hook."""
        await self.call(self.listeners(event.name), event.name, event.args())

    @staticmethod
    async def call(listeners: Sequence[list[Any]], name: str, args: list[Any]) -> None:
        """As in mitmproxy an error ends the group it is in, and AddonHalt ends them all."""
        for group in listeners:
            try:
                for addon in group:
                    if (handler := getattr(addon, name, None)) is not None:
                        result = handler(*args)
                        if type(result) is CoroutineType or (result is not None and inspect.isawaitable(result)):
                            await result
            except exceptions.AddonHalt:
                return
            except Exception:
                with addonmanager.safecall():
                    raise

    def listeners(self, name: str) -> Sequence[list[Any]]:
        """The addons that have a handler of this name, grouped by their entry in the chain."""
        if not self.is_current():
            self.rebuild()
        found = self.groups.get(name)
        if found is None:
            groups = ([a for a in _traverse([entry]) if _handles(a, name)] for entry in self.chain)
            found = self.groups[name] = [group for group in groups if group]
        return found

    def is_current(self) -> bool:
        """Whether the chain, and what each carrier in it carries, is what the index was made from.

        The manager appends to its list of addons, or replaces it; it never swaps an entry.
        """
        chain = self.manager.chain
        if chain is not self.chain or len(chain) != self.length:
            return False
        for carrier, known in self.carriers:  # noqa: SIM110 - a generator here costs as much as the rest, twice for every hook
            if carrier.addons != known:
                return False
        return True

    def rebuild(self) -> None:
        """Forget everything and look again."""
        self.groups = {}
        self.chain = self.manager.chain
        self.length = len(self.chain)
        self.carriers = [(a, list(a.addons)) for a in _traverse(self.chain) if hasattr(a, "addons")]


def _traverse(chain: Sequence[Any]) -> Iterator[Any]:
    """Every addon, carried ones included."""
    return addonmanager.traverse(chain)  # type: ignore[no-any-return]


def _handles(addon: Any, name: str) -> bool:
    """Whether an addon has a handler; a module imported under a hook's name is none."""
    handler = getattr(addon, name, None)
    if handler and not callable(handler) and not inspect.ismodule(handler):
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")
    return bool(handler) and callable(handler)


__all__ = ["HookIndex"]
