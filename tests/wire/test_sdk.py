"""The real Anthropic SDK through the relay: through HTTPS_PROXY and through the base URL, sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from . import claude, steps
from .clients import async_sdk, sdk
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Signal

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2"]
ASK: dict[str, Any] = {
    "model": claude.MODEL,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hi"}],
}
ERRORS: dict[int, tuple[str, type[anthropic.APIStatusError]]] = {
    400: ("invalid_request_error", anthropic.BadRequestError),
    401: ("authentication_error", anthropic.APIStatusError),
    404: ("not_found_error", anthropic.NotFoundError),
    413: ("request_too_large", anthropic.RequestTooLargeError),
    422: ("invalid_request_error", anthropic.UnprocessableEntityError),
    429: ("rate_limit_error", anthropic.RateLimitError),
    529: ("overloaded_error", anthropic.OverloadedError),
}

WAYS: dict[str, Callable[[Relay], dict[str, Any]]] = {
    "base url": lambda relay: {"base_port": relay.base_port},
    "proxy": lambda relay: {"proxy_port": relay.proxy_port, "ca_file": relay.ca_file},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[Relay], dict[str, Any]]:
    return WAYS[request.param]


@pytest.fixture
def client(start: StartRelay, way: Callable[[Relay], dict[str, Any]]) -> Iterator[anthropic.Anthropic]:
    relay = start(keys=KEYS, retry={"attempts": 4, "max_wait": "50ms", "first_byte": "3s", "idle": "3s"})
    with sdk(**way(relay)) as found:
        yield found


def test_a_message(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.script(steps.status(401, "authentication_error", "no"), steps.message("Hello!", encoding="gzip"))
    raw = client.messages.with_raw_response.create(**ASK)
    message = raw.parse()
    assert message.content[0].text == "Hello!"
    assert message.usage.cache_read_input_tokens == 12000
    assert message._request_id == "req_011CTestTestTestTest"
    assert raw.headers["x-relay-attempts"] == "2"
    assert sorted(upstream.used_keys()) == KEYS


def test_a_stream(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    go = Signal()
    events = claude.events("Grüße ", "日本語")
    upstream.script(steps.fault("error_first"), steps.stream([*events[:4], go, *events[4:]], chunking=steps.sized(9)))
    with client.messages.stream(**ASK) as stream:
        texts = iter(stream.text_stream)
        assert next(texts) == "Grüße "
        go.set()
        assert list(texts) == ["日本語"]
        final = stream.get_final_message()
    assert final.usage.output_tokens == 15
    assert final.stop_reason == "end_turn"


def test_events_one_by_one(client: anthropic.Anthropic) -> None:
    with client.messages.create(stream=True, **ASK) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_leaving_a_stream_early(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.script(steps.fault("stall_late"))
    with client.messages.stream(**ASK) as stream:
        next(iter(stream.text_stream))
    upstream.requests[0].gone.wait()
    assert client.messages.create(**ASK).content[0].text == "Hello!"


def test_a_stream_that_breaks_raises(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.script(steps.fault("cut_late"))
    with client.messages.stream(**ASK) as stream, pytest.raises(anthropic.APIError) as caught:
        stream.until_done()
    assert caught.value.message


def test_tokens_and_models(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    assert client.messages.count_tokens(model=claude.MODEL, messages=ASK["messages"]).input_tokens == 2095
    assert [m.id for m in client.models.list()] == [claude.MODEL, "claude-haiku-5"]
    assert client.models.retrieve(claude.MODEL).id == claude.MODEL
    assert set(upstream.used_keys()) <= set(KEYS)


def test_errors_are_the_right_exceptions(
    start: StartRelay, upstream: FakeUpstream, way: Callable[[Relay], dict[str, Any]]
) -> None:
    models = [f"model-{status}" for status in ERRORS]  # each with keys that no other error has spoiled
    providers = {model: provider(upstream.url, KEYS) for model in models}
    routes = [{"match": {"model": model}, "to": [model]} for model in models]
    relay = start(config(providers=providers, routes=routes, retry={"attempts": 4, "max_wait": "20ms"}))
    with sdk(**way(relay)) as client:
        for status, (kind, expected) in ERRORS.items():
            headers = [("retry-after", "30")] if status == 429 else []
            upstream.default = steps.status(status, kind, "no", headers=headers)
            with pytest.raises(expected) as caught:
                client.messages.create(**ASK | {"model": f"model-{status}"})
            assert caught.value.status_code == (503 if status == 401 else status)
            assert caught.value.request_id
            assert caught.value.request_id.startswith("req_")
            assert isinstance(caught.value.body, dict)
            assert caught.value.body["type"] == "error"


def test_errors_of_a_stream_too(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.default = steps.fault("error_first")
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**ASK) as stream:
        stream.until_done()
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "overloaded_error"


def test_the_sdks_own_retries_are_not_needed(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.script(steps.reset_before_head, steps.status(503), steps.message("third time"))
    assert client.messages.create(**ASK).content[0].text == "third time"
    assert len(upstream.requests) == 3


def test_tool_use_and_odd_text_survive(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    odd = "\u2028 \U0001f980 \x7f </script>"
    client.messages.create(
        **ASK
        | {"messages": [{"role": "user", "content": odd}], "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    )
    assert json.loads(upstream.requests[0].body)["messages"][0]["content"] == odd


def test_async(start: StartRelay, upstream: FakeUpstream, way: Callable[[Relay], dict[str, Any]]) -> None:
    relay = start(keys=KEYS)
    upstream.script(steps.status(500), steps.status(500))

    async def run() -> None:
        async with async_sdk(**way(relay)) as client:
            async with asyncio.TaskGroup() as group:
                whole = [group.create_task(client.messages.create(**ASK)) for _ in range(5)]
                count = group.create_task(client.messages.count_tokens(model="m", messages=ASK["messages"]))
            assert {task.result().content[0].text for task in whole} == {"Hello!"}
            assert count.result().input_tokens == 2095
            async with client.messages.stream(**ASK) as stream:
                assert [text async for text in stream.text_stream] == ["Hel", "lo!"]
                assert (await stream.get_final_message()).usage.output_tokens == 15
            assert [m.id async for m in client.models.list()] == [claude.MODEL, "claude-haiku-5"]

    asyncio.run(run())


def test_async_cancellation(start: StartRelay, upstream: FakeUpstream, way: Callable[[Relay], dict[str, Any]]) -> None:
    relay = start(keys=KEYS)
    upstream.script(steps.stall_before_head)

    async def run() -> None:
        async with async_sdk(**way(relay)) as client:
            asking = asyncio.ensure_future(client.messages.create(**ASK))
            await asyncio.to_thread(lambda: upstream.wait_for_requests(1)[0].whole.wait())
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.to_thread(upstream.requests[0].gone.wait)
            assert (await client.messages.create(**ASK)).content[0].text == "Hello!"

    asyncio.run(run())
