"""A Claude for real clients: understands the prompts of these tests and answers as the Messages API does, streamed or whole.

"question #7"                 → "answer 7"
"run `echo a`, `echo b`"      → uses the tool Bash twice, one call a turn, then says what came out
anything else                 → "Understood."   (titles, summaries and what else a client asks by itself)

with FakeUpstream(default=mind.step()) as upstream: …
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from wire import claude, steps
from wire.upstream import Exchange, Step

QUESTION = re.compile(r"question #(\w+)")
COMMANDS = re.compile(r"`([^`]+)`")
RUN = re.compile(r"run ((?:`[^`]+`(?:, )?)+)")
_IDS = itertools.count(1)


def step() -> Step:
    """Answers /v1/messages as said above, all else as `steps.claude_step`."""

    async def run(exchange: Exchange) -> None:
        await _chosen(exchange).run(exchange)

    return Step(run)


def _chosen(exchange: Exchange) -> Step:
    request = exchange.request
    if request.path.partition("?")[0] != "/v1/messages":
        return steps.claude_step(exchange)
    asked = json.loads(request.body)
    return said(reply(asked), stream=bool(asked.get("stream")))


def said(message: dict[str, object], *, stream: bool) -> Step:
    """The message in the form that was asked for."""
    return steps.stream(claude.streamed(message)) if stream else steps.answer([claude.dump(message)])


def reply(asked: dict[str, Any]) -> dict[str, object]:
    """The whole message that answers a request's body."""
    results = []
    for kind, text in reversed(list(spoken(asked["messages"]))):
        if kind == "result":
            results.insert(0, text)
        elif wanted := RUN.search(text):
            return _next_call(COMMANDS.findall(wanted[1]), results, asked["model"])
        elif found := QUESTION.findall(text):
            return _text(f"answer {found[-1]}", asked["model"])
    return _text("Understood.", asked["model"])


def spoken(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What the user said ("text") and what tools gave ("result"), in their order."""
    for message in messages:
        if message["role"] != "user":
            continue
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if block["type"] == "text":
                yield "text", block["text"]
            elif block["type"] == "tool_result":
                yield "result", _result(block.get("content") or "")


def _result(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)


def _next_call(commands: list[str], results: list[str], model: str) -> dict[str, object]:
    if len(results) >= len(commands):
        return _text(f"It said: {', '.join(result.strip() for result in results)}", model)
    command = commands[len(results)]
    call = {
        "type": "tool_use",
        "id": f"toolu_01Test{next(_IDS):016}",
        "name": "Bash",
        "input": {"command": command, "description": "As asked"},
    }
    thought = {"type": "thinking", "thinking": f"The next is {command}.", "signature": "EqQBCgIYAhIM" + "A" * 40}
    return _message(model, [thought, call], "tool_use")


def _text(text: str, model: str) -> dict[str, object]:
    return _message(model, [{"type": "text", "text": text}], "end_turn")


def _message(model: str, content: list[dict[str, object]], stop_reason: str) -> dict[str, object]:
    """With an id of its own: Claude Code joins what has the same."""
    number = f"msg_01Test{next(_IDS):016}"
    return claude.message(model=model, content=content, stop_reason=stop_reason, id=number)
