"""Which models providers have: asked for when somebody wants to know, and by the keys that may get a list."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Cause, Length, Target, Verdict
from claude_relay.proxy.messages.wire import Signature
from claude_relay.proxy.running.discovery import FIRST, Discovery, keys_to_query, own_fields
from claude_relay.proxy.running.runtime import Runtime
from upstream.providers import Upstream, answering, raw, serving


def runtime_of(url: str, **provider: object) -> Runtime:
    given = {"base_url": url, "format": "openai-chat", "keys": ["none"], **provider}
    return Runtime.of(parse(json.dumps({"providers": {"local": given}}), environ={}), environ={})


def models(*names: str) -> bytes:
    body = json.dumps({"data": [{"id": name} for name in names]}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def test_the_first_model_that_can_hold_a_conversation() -> None:
    async def main() -> None:
        discovery = Discovery()
        with raw(answering(models("nomic-embed-text", "qwen3-coder:30b", "other"))) as address:
            runtime = runtime_of(f"http://{address}/v1")
            targets = (Target("local", FIRST), Target("local", "named"))
            for _ in range(2):  # the second time nobody is asked
                found = await discovery.named(runtime, targets)
                assert [target.model for target in found] == ["qwen3-coder:30b", "named"]
        other = (Target("local", "named"),)
        assert await discovery.named(runtime, other) is other

    asyncio.run(main())


def test_a_provider_that_does_not_tell_keeps_the_word() -> None:
    async def main() -> None:
        with raw(answering(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")) as address:
            runtime = runtime_of(f"http://{address}/v1")
            (found,) = await Discovery().named(runtime, (Target("local", FIRST),))
            assert found.model == FIRST

    asyncio.run(main())


@pytest.mark.parametrize(
    ("keys", "own", "listed"),
    [
        (["sk-ant-valid-1"], {}, True),
        ([], {"x-api-key": "sk-ant-valid-of-a-client"}, True),
        ([], {}, False),
        (["sk-ant-revoked-1"], {"x-api-key": "sk-ant-valid-of-a-client"}, False),
    ],
)
def test_lists_by_the_pools_key_or_the_clients_own(keys: list[str], own: dict[str, str], listed: bool) -> None:
    async def main() -> None:
        with serving(Upstream()) as upstream:
            runtime = runtime_of(upstream.url, format="anthropic", keys=keys)
            found = await Discovery().lists(runtime, ("local",), own)
            assert list(found.get("local", ())) == ["claude-sonnet-5"] * listed
            assert bool(upstream.requests) is bool(keys or own)

    asyncio.run(main())


def test_keys_that_are_out_are_not_asked_and_those_that_are_ready_come_first() -> None:
    runtime = runtime_of("https://h.example", format="anthropic", keys=[f"sk-ant-key-number-{n}" for n in range(4)])
    pool = runtime.pools["local"]
    out = Verdict("revoked", Cause.KEY, Length.CHECK, "401")
    pool.cooldowns.extend(pool.keys[0].id, "", until=math.inf, now=1.0, reason=out.reason, stated=False, recheck=1e9)
    pool.cooldowns.extend(pool.keys[1].id, "", until=1e9, now=1.0, reason="limit", stated=True, recheck=math.inf)
    assert [key.alias for key in keys_to_query(pool, 2.0)] == ["k3", "k4", "k2"]
    assert keys_to_query(runtime_of("https://h.example", keys=[]).pools["local"], 2.0) == ()


def test_what_of_a_clients_head_goes_along() -> None:
    fields = ((b"X-Api-Key", b"k"), (b"anthropic-version", b"2023-06-01"), (b"cookie", b"c"), (b"x", b"y"))
    assert own_fields(Signature(fields)) == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert own_fields(Signature(fields[1:])) == {}
    assert own_fields(None) == {}
