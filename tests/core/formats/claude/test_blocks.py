"""What the blocks of a request become."""

from base64 import b64encode

import pytest
from anthropic.types.beta import BetaContentBlockParam

from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.claude import blocks
from claude_relay.core.formats.conversation import Document, Image, Result, Text, Thinking

from .messages import PNG, USE, assistant, kinds_of, parts, read, result, user


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", USE),
        ("user", {"type": "thinking", "thinking": "a", "signature": "b"}),
        ("assistant", {"type": "tool_result", "tool_use_id": "toolu_1"}),
        ("assistant", {"type": "image", "source": PNG}),
        ("system", {"type": "image", "source": PNG}),
    ],
)
def test_a_block_in_the_wrong_turn_is_refused(role, block):
    with pytest.raises(Unsuited, match=r"^messages\.1\.content\.0\.type: "):
        parts(role, block)


PLAIN = {"type": "text", "media_type": "text/plain", "data": "Body"}
BLOCKS = {
    "text with citations": ("assistant", {"type": "text", "text": "a", "citations": [{"cited_text": "x"}]}, [Text("a")]),
    "image": ("user", {"type": "image", "source": PNG}, [Image("image/png", "iVBORw0K")]),
    "image by url": ("user", {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}, [Image(url="https://a/b.png")]),
    "pdf": (
        "user",
        {"type": "document", "title": "T", "context": "C", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
        [Text("C"), Document("application/pdf", "JVBE", title="T")],
    ),
    "pdf by url": (
        "user",
        {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        [Document(url="https://a/b.pdf")],
    ),
    "document": ("user", {"type": "document", "title": "T", "context": "C", "source": PLAIN}, [Text("T\nC\nBody")]),
    "document in base64": (
        "user",
        {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": b64encode("Größe".encode()).decode()}},
        [Text("Größe")],
    ),
    "document of blocks": (
        "user",
        {
            "type": "document",
            "title": "T",
            "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": PNG}]},
        },
        [Text("T"), Text("a"), Image("image/png", "iVBORw0K")],
    ),
    "document of a string": ("user", {"type": "document", "source": {"type": "content", "content": "a"}}, [Text("a")]),
    "search result": (
        "user",
        {"type": "search_result", "title": "T", "source": "https://a", "content": [{"type": "text", "text": "a"}]},
        [Text("T\nhttps://a\na")],
    ),
    "own thinking": ("assistant", {"type": "thinking", "thinking": "a", "signature": "Eq"}, [Thinking("a", "Eq")]),
    "foreign thinking": (
        "assistant",
        {"type": "thinking", "thinking": "a", "signature": FOREIGN},
        [Thinking("a", FOREIGN, foreign=True)],
    ),
    "server call": (
        "assistant",
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rome"}},
        [Text("[server_tool_use]\nname: web_search\nquery: rome")],
    ),
    "web search result": (
        "assistant",
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [{"type": "web_search_result", "title": "T", "url": "https://a", "encrypted_content": "EqEq", "page_age": None}],
        },
        [Text("[web_search_tool_result]\ntitle: T\nurl: https://a")],
    ),
    "web fetch result": (
        "assistant",
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "web_fetch_result", "url": "https://a", "content": {"type": "document", "source": PLAIN}},
        },
        [Text("[web_fetch_tool_result]\nurl: https://a\nBody")],
    ),
    "fetched pdf": (
        "assistant",
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"url": "https://a", "content": {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}},
        },
        [Text("[web_fetch_tool_result]\nurl: https://a")],
    ),
    "code execution result": (
        "assistant",
        {
            "type": "code_execution_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {"type": "code_execution_result", "stdout": "4\n", "stderr": "", "return_code": 0, "content": []},
        },
        [Text("[code_execution_tool_result]\nstdout: 4\n\nreturn_code: 0")],
    ),
    "mcp result": (
        "assistant",
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": True, "content": [{"type": "text", "text": "no"}]},
        [Text("[mcp_tool_result]\nis_error: True\nno")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("role", "block", "expected"), BLOCKS.values(), ids=list(BLOCKS))
def test_what_a_block_becomes(role, block, expected):
    assert parts(role, block) == tuple(expected)


PDF = {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
FETCHED = {
    "type": "web_fetch_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "web_fetch_result", "url": "https://a/b.pdf", "content": PDF},
}
PAGE = Text("[web_fetch_tool_result]\nurl: https://a/b.pdf\ntitle: T")
FILE = Document("application/pdf", "JVBE", title="T")


def test_a_fetched_pdf_stays_with_its_page_in_a_users_turn():
    assert parts("user", FETCHED, {"type": "text", "text": "Go on"}) == (PAGE, FILE, Text("Go on"))


@pytest.mark.parametrize("later", ["Go on", [{"type": "text", "text": "Go on"}]])
def test_a_pdf_that_was_fetched_in_an_assistants_turn_is_in_the_users_next(later):
    told = read(
        messages=[
            {"role": "user", "content": "Read it"},
            assistant(FETCHED, {"type": "text", "text": "I have."}),
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": later},
            assistant({"type": "text", "text": "Yes."}),
        ]
    )
    assert [turn.role for turn in told.turns] == ["user", "assistant", "system", "user", "assistant"]
    assert told.turns[1].parts == (PAGE, Text("I have."))
    assert told.turns[3].parts == (Text("Go on"), FILE)
    assert "web_fetch_tool_result: its file is in the user's next turn" in told.notes


def test_a_fetched_pdf_at_the_very_end_gets_a_turn_of_its_own():
    turns = read(messages=[{"role": "user", "content": "Read it"}, assistant(FETCHED)]).turns
    assert (turns[-1].role, turns[-1].parts) == ("user", (FILE,))


def test_a_fetched_pdf_before_a_summary_is_passed_over():
    summary = {"type": "compaction", "content": "All about it."}
    told = read(
        messages=[
            {"role": "user", "content": "Hi"},
            assistant(FETCHED, summary),
            user(summary | {"type": "text", "text": "b"}),
        ]
    )
    assert not any(isinstance(part, Document) for turn in told.turns for part in turn.parts)


def test_thoughts_that_nobody_can_read_are_left_out():
    hidden = assistant(
        {"type": "redacted_thinking", "data": "Eq"}, {"type": "thinking", "thinking": "", "signature": "Eq"}
    )
    told = read(messages=[{"role": "user", "content": "a"}, hidden])
    assert len(told.turns) == 1
    assert told.notes == ("redacted_thinking: left out",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (..., ()),
        (None, ()),
        ("", ()),
        ([], ()),
        ("a", (Text("a"),)),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "a"}], (Text("a"),)),
        ([{"type": "image", "source": PNG}], (Image("image/png", "iVBORw0K"),)),
        ([{"type": "tool_reference", "tool_name": "grep"}], (Text("The tool grep is available."),)),
        ([{"type": "search_result", "title": "T", "source": "S", "content": []}], (Text("T\nS"),)),
        (
            [{"type": "browser_state", "tabs": [{"tab_id": "1", "url": "https://a", "title": "", "active": False}]}],
            (Text("[browser_state]\ntab_id: 1\nurl: https://a"),),
        ),
    ],
)
def test_the_content_of_a_tool_result(content, expected):
    assert result(**{} if content is ... else {"content": content}) == Result("toolu_1", expected)


def test_a_failed_call():
    assert result(content="no", is_error=True) == Result("toolu_1", (Text("no"),), is_error=True)


def test_every_block_of_the_official_sdk_is_known():
    assert kinds_of(BetaContentBlockParam) == blocks.BLOCKS.keys() - {"tool_reference", "browser_state"}
