"""What each provider takes of pictures and PDFs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.core.formats.conversation import Document, Image, Result, Text, Turn

from .chats import CALL, USER, noted, requested

DATA = "iVBO"
PDF = Document(data="JVBE", title="Annual report")
URL = "https://a.example/pic.png"


def parts(*files: Any, **said: Any) -> list[dict[str, Any]]:
    content = requested(Turn("user", (Text("See:"), *files)), **said)["messages"][0]["content"]
    return content[1:] if isinstance(content, list) else [{"type": "text", "text": content.removeprefix("See:\n\n")}]


def image(kind: str = "png", url: str = "") -> Image:
    return Image(url=url) if url else Image(f"image/{kind}", data=DATA)


TAKES = [
    ("openai-chat", "gpt-5.2", "png jpeg webp gif", "bmp svg+xml"),
    ("deepseek-openai", "deepseek-v4-pro", "", "png jpeg webp gif"),
    ("moonshot-openai", "kimi-k2.6", "png jpeg webp gif", "bmp"),
    ("zhipu-openai", "glm-4.6v", "png jpeg", "gif webp"),
    ("zhipu-openai", "glm-5.1", "", "png jpeg"),
    ("modelscope", "Qwen/Qwen3-VL-235B-A22B-Instruct", "png jpeg webp", "gif"),
    ("modelscope", "Qwen/Qwen3-Coder-480B-A35B-Instruct", "", "png"),
    ("openrouter", "google/gemini-3-pro", "png jpeg webp gif", "bmp"),
    ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "png jpeg webp gif", "bmp"),
    ("groq", "openai/gpt-oss-120b", "", "png"),
    ("mistral", "mistral-medium-latest", "png jpeg webp gif", "bmp"),
    ("mistral", "codestral-latest", "", "png"),
    ("xai", "grok-4.3", "png jpeg", "gif webp"),
    ("ollama", "gemma4", "png jpeg webp", "gif"),
    ("lm-studio", "gemma4", "png jpeg webp", "gif"),
    ("vllm", "Qwen/Qwen3-VL", "png jpeg webp gif bmp", ""),
    ("openai-compatible", "some-model", "png jpeg webp gif bmp", ""),
]


@pytest.mark.parametrize(
    ("preset", "model", "kind"), [(p, m, kind) for p, m, takes, _ in TAKES for kind in takes.split()]
)
def test_a_picture_goes_where_it_is_taken(preset: str, model: str, kind: str):
    assert parts(image(kind), preset=preset, model=model) == [
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{DATA}"}}
    ]
    assert not noted(Turn("user", (Text("See:"), image(kind))), preset=preset, model=model)


@pytest.mark.parametrize(
    ("preset", "model", "kind"), [(p, m, kind) for p, m, _, not_taken in TAKES for kind in not_taken.split()]
)
def test_a_picture_that_is_not_taken_is_a_line_of_text_and_a_note(preset: str, model: str, kind: str):
    (part,) = parts(image(kind), preset=preset, model=model)
    assert part["type"] == "text"
    assert DATA not in part["text"]
    (note,) = noted(Turn("user", (Text("See:"), image(kind))), preset=preset, model=model)
    assert note.startswith("messages: ")


@pytest.mark.parametrize(
    ("preset", "model", "fetched"),
    [
        ("openai-chat", "gpt-5.2", True),
        ("moonshot-openai", "kimi-k2.6", False),
        ("ollama", "gemma4", False),
        ("lm-studio", "gemma4", False),
        ("mistral", "mistral-medium-latest", True),
        ("openrouter", "google/gemini-3-pro", True),
        ("vllm", "m", True),
    ],
)
def test_an_address_goes_where_it_is_fetched_and_else_out_as_text(preset: str, model: str, fetched: bool):
    (part,) = parts(image(url=URL), preset=preset, model=model)
    assert (part["type"] == "image_url") is fetched
    assert URL in json.dumps(part)


def test_an_address_tells_a_type_that_is_not_taken():
    (part,) = parts(image(url="https://a.example/pic.gif?x=1"), preset="xai", model="grok-4.3")
    assert part["type"] == "text"


def test_a_picture_that_is_too_large_is_told_with_its_size():
    large = Image("image/png", data="A" * 8_000_000)
    (part,) = parts(large, preset="zhipu-openai", model="glm-4.6v")
    assert part["text"].startswith("(a picture of 6.0 MB")
    assert parts(large, preset="mistral", model="mistral-medium-latest")[0]["type"] == "image_url"


def test_of_too_many_pictures_the_earliest_are_left_out():
    given = parts(*[image()] * 7, preset="groq", model="meta-llama/llama-4-scout-17b-16e-instruct")
    assert [part["type"] for part in given] == ["text"] * 2 + ["image_url"] * 5
    results = Turn("user", (Result("call_1", tuple([image()] * 4)), image(), image()))
    body = requested(USER, Turn("assistant", (CALL,)), results, model="m", options={"most_images": 5})
    assert json.dumps(body).count("image_url") == 2 * 5


# -- PDFs


@pytest.mark.parametrize(
    ("preset", "model", "part"),
    [
        (
            "openai-chat",
            "gpt-5.2",
            {
                "type": "file",
                "file": {"filename": "Annual report.pdf", "file_data": "data:application/pdf;base64,JVBE"},
            },
        ),
        (
            "openrouter",
            "x/y",
            {
                "type": "file",
                "file": {"filename": "Annual report.pdf", "file_data": "data:application/pdf;base64,JVBE"},
            },
        ),
        (
            "mistral",
            "mistral-large-latest",
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,JVBE",
                "document_name": "Annual report",
            },
        ),
    ],
)
def test_a_pdf_keeps_its_title_where_it_is_taken(preset: str, model: str, part: dict[str, Any]):
    assert parts(PDF, preset=preset, model=model) == [part]


@pytest.mark.parametrize(
    "preset",
    ["deepseek-openai", "moonshot-openai", "zhipu-openai", "groq", "xai", "ollama", "lm-studio", "vllm", "modelscope"],
)
def test_a_pdf_that_is_not_taken_is_named_by_its_title(preset: str):
    (part,) = parts(PDF, preset=preset)
    assert "Annual report" in part["text"]
    assert "messages: documents left out" in noted(Turn("user", (PDF,)), preset=preset)


def test_a_pdf_by_its_address_goes_where_it_is_fetched():
    there = Document(url="https://a.example/r.pdf", title="R")
    assert parts(there, preset="openrouter")[0]["file"] == {"filename": "R.pdf", "file_data": there.url}
    assert parts(there, preset="mistral")[0] == {
        "type": "document_url",
        "document_url": there.url,
        "document_name": "R",
    }
    assert there.url in parts(there, preset="openai-chat")[0]["text"]


def test_a_file_without_a_title_has_a_name():
    assert parts(Document(data="JVBE"), preset="openai-chat")[0]["file"]["filename"] == "document.pdf"
    assert parts(Document(data="JVBE", title="a.PDF"), preset="openai-chat")[0]["file"]["filename"] == "a.PDF"
