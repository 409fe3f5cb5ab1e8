"""The results of a batch."""

from __future__ import annotations

import json

from claude_relay.cli.fake import messages as fake
from claude_relay.proxy.views.batch_results import MOST, show
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen


def line(n: int, kind: str = "succeeded", **result: object) -> str:
    return json.dumps({"custom_id": f"r{n}", "result": {"type": kind, **result}})


GOOD = line(1, message=fake.message("Hello", usage={"input_tokens": 3, "output_tokens": 5}))
BAD = line(2, "errored", error=fake.error("invalid_request_error", "no"))
PAGE = """\
shown: all 3
of these: {succeeded: 1, errored: 1, expired: 1}
results:
  - custom_id: r1
    succeeded:
      model: claude-sonnet-5
      stop_reason: end_turn
      usage: {input_tokens: 3, output_tokens: 5}
      content:
        - text: Hello
  - custom_id: r2
    errored:
      error:
        type: error
        error:
          type: invalid_request_error
          message: "no"
        request_id: req_011CTestTestTestTest
  - custom_id: r3
    expired: {}
"""


def shown(text: str) -> str:
    found = show(text.encode(), Seen())
    assert found is not None
    return page(*found)


def test_results() -> None:
    text = shown("\n".join([GOOD, BAD, line(3, "expired")]) + "\n")
    assert text.startswith("# results of a batch, ")
    assert text.partition("\n")[2] == PAGE


def test_many_results() -> None:
    text = shown("\n".join([GOOD] * 5000))
    assert f"shown: the first {MOST}\n" in text
    assert f"of these: {{succeeded: {MOST}}}\n" in text
    assert "MB more\n" in text


def test_one_that_is_cut_off_and_one_that_is_broken() -> None:
    text = shown(f"{GOOD}\n{{oops\n{GOOD[:-60]}")
    assert '- custom_id: null\n    "?": {}\n' in text
    assert text.count("text: Hello") == 2
    assert show(b"\n \n", Seen()) is None
