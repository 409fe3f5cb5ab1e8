"""The index calls exactly what mitmproxy would call, in the same order, also when addons come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mitmproxy import addonmanager, exceptions, hooks
from mitmproxy.test import taddons, tflow

from claude_relay.proxy.mitm.hook_index import HookIndex


class Named:
    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen


class Listener(Named):
    def request(self, _: Any) -> None:
        self.seen.append(f"{self.name}.request")


class Slow(Named):
    async def request(self, _: Any) -> None:
        await asyncio.sleep(0)
        self.seen.append(f"{self.name}.request")


class Updated(Named):
    def update(self, flows: Any) -> None:
        self.seen.append(f"{self.name}.update")


class Carrier(Named):
    def __init__(self, name: str, seen: list[str], *addons: Any) -> None:
        super().__init__(name, seen)
        self.addons = list(addons)


class Failing(Named):
    def request(self, _: Any) -> None:
        self.seen.append(f"{self.name}.request")
        raise ValueError("broken addon")


class Halting(Named):
    def request(self, _: Any) -> None:
        self.seen.append(f"{self.name}.request")
        raise exceptions.AddonHalt


async def fire(manager: addonmanager.AddonManager) -> None:
    from mitmproxy.proxy.layers.http import HttpRequestHook

    await manager.handle_lifecycle(HttpRequestHook(tflow.tflow()))


def with_addons(test: Any) -> None:
    async def main() -> None:
        with taddons.context() as tctx:
            await test(tctx.master.addons)

    asyncio.run(main())


def both_ways(*addons: Any, seen: list[str]) -> list[str]:
    """What is called without the index and with it; they must agree."""
    found: list[list[str]] = []

    async def main(manager: addonmanager.AddonManager) -> None:
        manager.add(*addons)
        for indexed in (False, True):
            index = HookIndex(manager)
            if indexed:
                index.install()
            seen.clear()
            await fire(manager)
            found.append(list(seen))
            index.remove()

    with_addons(main)
    assert found[0] == found[1]
    return found[1]


def test_order_is_that_of_the_chain() -> None:
    seen: list[str] = []
    called = both_ways(Listener("a", seen), Slow("b", seen), Named("c", seen), Updated("d", seen), seen=seen)
    assert called == ["a.request", "b.request", "d.update"]


def test_carried_addons_are_called_with_their_carrier() -> None:
    seen: list[str] = []
    called = both_ways(
        Carrier("outer", seen, Listener("a", seen), Carrier("inner", seen, Listener("b", seen))), seen=seen
    )
    assert called == ["a.request", "b.request"]


def test_an_error_ends_its_group_only(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    called = both_ways(Carrier("x", seen, Failing("a", seen), Listener("b", seen)), Listener("c", seen), seen=seen)
    assert called == ["a.request", "c.request"]
    assert caplog.text.count("Addon error: broken addon") == 2


def test_halt_ends_them_all() -> None:
    seen: list[str] = []
    assert both_ways(Halting("a", seen), Listener("b", seen), seen=seen) == ["a.request"]


def test_addons_that_come_and_go() -> None:
    seen: list[str] = []
    carrier = Carrier("carrier", seen)
    first, second = Listener("first", seen), Listener("second", seen)

    async def main(manager: addonmanager.AddonManager) -> None:
        HookIndex(manager).install()
        manager.add(carrier, first)
        await fire(manager)
        manager.add(second)
        await fire(manager)
        manager.remove(first)
        await fire(manager)
        carrier.addons.append(first)  # as the script loader does it: behind the manager's back
        await fire(manager)
        carrier.addons.clear()
        await fire(manager)
        manager.clear()
        await fire(manager)

    with_addons(main)
    assert seen == [
        "first.request",
        "first.request",
        "second.request",
        "second.request",
        "first.request",
        "second.request",
        "second.request",
    ]


def test_a_handler_that_is_replaced_is_called_anew() -> None:
    seen: list[str] = []
    addon = Listener("a", seen)

    async def main(manager: addonmanager.AddonManager) -> None:
        HookIndex(manager).install()
        manager.add(addon)
        await fire(manager)
        addon.request = lambda _: seen.append("replaced")  # type: ignore[method-assign]
        await fire(manager)

    with_addons(main)
    assert seen == ["a.request", "replaced"]


def test_other_hooks_and_removal() -> None:
    class Runs(Named):
        def running(self) -> None:
            self.seen.append("running")

    seen: list[str] = []

    async def main(manager: addonmanager.AddonManager) -> None:
        index = HookIndex(manager)
        index.install()
        manager.add(Runs("a", seen))
        await manager.trigger_event(hooks.RunningHook())
        index.remove()
        assert manager.trigger_event.__func__ is addonmanager.AddonManager.trigger_event  # type: ignore[attr-defined]

    with_addons(main)
    assert seen == ["running"]
