"""The page for browsers; over a real connection: tests/wire/test_base_url.py."""

from claude_relay.core.config import parse
from claude_relay.proxy.messages.welcome import welcome


def page(text: str, *, at_proxy: bool = False) -> str:
    answer = welcome(parse(text, environ={"ANTHROPIC_API_KEYS": "sk-ant-secret"}), "req_relay_1", at_proxy=at_proxy)
    assert (answer.status_code, answer.headers["request-id"]) == (200, "req_relay_1")
    assert "sk-ant-secret" not in answer.text
    return str(answer.text)


def test_it_names_the_listeners_that_are_on() -> None:
    both = page("")
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:8082" in both
    assert "HTTPS_PROXY=http://127.0.0.1:8080" in both
    assert "ANTHROPIC_BASE_URL" not in page("listen: {base_url: null}", at_proxy=True)
    assert "HTTPS_PROXY" not in page("listen: {proxy: null}")


def test_it_says_where_one_is() -> None:
    assert "This is the relay's proxy:" in page("", at_proxy=True)
    assert "This is the relay's base URL:" in page("")
    assert "{" not in page("").partition("</style>")[2]
