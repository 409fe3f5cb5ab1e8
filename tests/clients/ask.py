"""What a person's program does with the Python SDK: nothing but `Anthropic()`. Prints the answers as JSON."""

import asyncio
import json

import anthropic

NAME = "claude-sonnet-5"


def parts(prompt: str) -> dict[str, object]:
    return {"model": NAME, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}


def blocking() -> dict[str, object]:
    """Whole, streamed, a tool, tokens, models."""
    with anthropic.Anthropic(max_retries=0) as client:
        with client.messages.stream(**parts("question #2")) as stream:
            streamed = "".join(stream.text_stream)
        call = client.messages.create(**parts("run `date`")).content[-1]
        return {
            "whole": client.messages.create(**parts("question #1")).content[0].text,
            "streamed": streamed,
            "tool": call.input["command"],
            "tokens": client.messages.count_tokens(model=NAME, messages=parts("Hi")["messages"]).input_tokens,
            "models": [model.id for model in client.models.list()],
        }


async def awaited() -> dict[str, object]:
    """Whole and streamed at the same time."""

    async def streamed() -> str:
        async with client.messages.stream(**parts("question #4")) as stream:
            return "".join([text async for text in stream.text_stream])

    async with anthropic.AsyncAnthropic(max_retries=0) as client:
        message, text = await asyncio.gather(client.messages.create(**parts("question #3")), streamed())
    return {"async whole": message.content[0].text, "async streamed": text}


if __name__ == "__main__":
    print(json.dumps(blocking() | asyncio.run(awaited())))
