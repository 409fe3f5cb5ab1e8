from __future__ import annotations

import re
from pathlib import Path

import pytest

from claude_relay.panel.common import said, texts

PUT_TOGETHER = [" or let the person begin to sign in anew", " tokens anew for $"]
SOURCES = Path(said.__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("There is no client 'bob'.", "没有客户端“bob”。"),
        ("There is no client 'bob'; do you mean 'Bob'?", "没有客户端“bob”；是否指“Bob”？"),
        ("There is no client 'Keys'.", "没有客户端“Keys”。"),
        ("Value error, 'x' is no length of time above 0.", "“x”不是大于 0 的时长。"),
        (
            "Every key is out: v1: revoked. Replace or mend them, then start the relay again.",
            "所有密钥均不可用：v1: revoked。请更换或修复密钥，然后重新启动中继。",
        ),
        (
            "The limit '$2/day' of the client 'bob' is near: $1.80 spent. It has no end.",
            "客户端“bob”的限额“$2/day”即将用完：已花费 $1.80。它没有期限。",
        ),
        ("The login a/v1 ends in 5 min and cannot be renewed.", "登录 a/v1 将在 5 分钟后失效，且无法续期。"),
        ("default zhipu, then route 2", "默认 zhipu，然后 路由 2"),
        ("Name or password is wrong.", "用户名或密码错误。"),
        ("Nobody has translated this.", "Nobody has translated this."),
        ("", ""),
    ],
)
def test_what_the_code_says_in_the_visitors_language(text: str, shown: str) -> None:
    assert said.shown(text, texts.of("zh")) == shown
    assert said.shown(text, texts.of("en")) == text


def test_every_form_is_said_somewhere() -> None:
    """Clause by clause, for the code puts some together: what it says in other words now would be shown in English."""
    code = "".join(file.read_text() for file in sorted(SOURCES.rglob("*.py")) if file.name != "said.py")
    code = re.sub(r'"\s*\n\s*f?"', "", code).lower()
    said_nowhere = [
        clause
        for form in said.OURS
        for part in said.PLACE.split(form)[::2]
        for clause in re.split("[;,:.(]", part.lower())
        if clause.strip(" '") not in code
    ]
    assert said_nowhere == PUT_TOGETHER


def test_errors_are_in_the_language_that_is_asked_for() -> None:
    from claude_relay.panel.common.problems import FieldError, Problem

    problem = Problem(
        404, "x", "There is no such key.", errors=[FieldError(field="key", detail="The password is wrong.")]
    )
    body = bytes(problem.answer(texts.of("zh")).body).decode()
    assert all(text in body for text in ("未找到", "没有此密钥。", "密码错误。"))
    assert '"detail":"There is no such key."' in bytes(problem.answer().body).decode()
