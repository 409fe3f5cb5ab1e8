"""How an attempt differs from what the client asked: by format, by name, by address, or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from claude_relay.core.exchange import Attempt, Endpoint
from claude_relay.core.formats.base import Unsuited
from claude_relay.proxy.provider.adapting import Adaptation, Readdressed, Renamed, Translated
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.request.translating import LONG, LONGEST_MEMORY, Translator

from .made import MODEL, relayed, runtime

PROVIDERS = {
    "anthropic": {"preset": "anthropic"},
    "google": {"format": "gemini", "base_url": "https://h.example", "body": {"safetySettings": []}},
}
CALL = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}


def request(endpoint: Endpoint = Endpoint.MESSAGES, text: str = "Hi", **more: Any) -> Relayed:
    found = relayed(endpoint, runtime(providers=PROVIDERS))
    turns = [{"role": "user", "content": text}]
    found.body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": turns} | more).encode()
    return found


def adapted(
    found: Relayed, provider: str, model: str = MODEL, translator: Translator | None = None
) -> Adaptation | None:
    attempt = Attempt(1, provider, None, model)
    return asyncio.run((translator or Translator()).adapt(found, attempt))


def test_a_provider_of_claudes_format() -> None:
    assert adapted(request(), "anthropic") is None
    renamed = adapted(request(), "anthropic", "theirs")
    assert renamed == Renamed(MODEL, stream=False)
    assert adapted(request(Endpoint.COUNT_TOKENS), "anthropic", "theirs") is None  # its answer names no model


@pytest.mark.parametrize(
    ("base", "path", "changed"), [(True, "batches", True), (True, "x", False), (False, "batches", False)]
)
def test_batches_of_a_client_that_knows_the_base_url(base: bool, path: str, changed: bool) -> None:
    found = relayed(Endpoint.RESOURCE)
    found.base = "http://127.0.0.1:8082" if base else None
    from mitmproxy.test import tflow

    found.keep_request(tflow.treq(path=f"/v1/messages/{path}".encode()), b"")
    assert isinstance(adapted(found, "anthropic"), Readdressed) is changed


@pytest.mark.parametrize("size", [1, LONG])
def test_another_format(size: int) -> None:
    found = request(text="x" * size, top_k=3)
    translated = adapted(found, "google", "gemini-3-pro")
    assert isinstance(translated, Translated)
    sent = json.loads(translated.request.body)
    assert sent["contents"][0]["parts"] == [{"text": "x" * size}]
    assert sent["safetySettings"] == []
    assert (translated.model, translated.provider_model, translated.seed) == (MODEL, "gemini-3-pro", "1")
    before = found.conversation
    adapted(found, "google", "gemini-3-flash")
    assert found.conversation is before  # read once for all attempts


def test_what_a_provider_cannot_be_asked() -> None:
    found = request()
    found.body = None
    with pytest.raises(Unsuited, match="content-encoding"):
        adapted(found, "google")


class Stored:
    """As much of the database as is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.asked: list[list[str]] = []

    async def recall(self, calls: list[str]) -> dict[str, str]:
        self.asked.append(calls)
        return {call: self.kept[call] for call in calls if call in self.kept}

    async def remember_calls(self, memories: dict[str, str]) -> None:
        self.kept |= memories


def test_what_a_provider_wants_back_in_the_next_turn() -> None:
    stored, first = Stored(), Translator()
    first.stored = stored  # type: ignore[assignment]
    memory = json.dumps(
        {"format": "gemini", "model": "gemini-3-pro", "asked": "gemini-3-pro", "signature": "c2ln", "id": None}
    )
    asyncio.run(first.remember({"call_1": memory, "call_2": "x" * (LONGEST_MEMORY + 1)}))
    assert stored.kept == {"call_1": memory}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "ok"}]},
    ]
    for translator, asked in ((first, 0), (Translator(), 1)):  # at hand; and after a restart
        translator.stored = stored  # type: ignore[assignment]
        found = adapted(request(messages=turns), "google", "gemini-3-pro", translator)
        assert isinstance(found, Translated)
        assert b"c2ln" in found.request.body
        assert len(stored.asked) == asked


def test_an_estimate_of_the_tokens() -> None:
    assert 100 < asyncio.run(Translator().estimate(request(text="word " * 200))) < 500
