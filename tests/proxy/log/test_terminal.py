"""mitmproxy's lines, written by a thread: the same ones, by the same rules."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.addons import dumper, errorcheck, termlog
from mitmproxy.log import MitmLogHandler
from mitmproxy.test import taddons, tflow

from claude_relay.proxy.log.queued import Queued
from claude_relay.proxy.log.terminal import Terminal

logger = logging.getLogger("claude_relay.test_terminal")


@pytest.fixture(autouse=True)
def one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """mitmproxy's handlers are silent in any other phase of a test than the one they were made in; these are removed by hand."""
    with monkeypatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")
        yield
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, MitmLogHandler):
            handler.uninstall()


@pytest.fixture
def stage(one_test: None) -> Iterator[Any]:
    """mitmproxy's addons that write, and the file that they write to."""
    out = io.StringIO()
    terminal_log, flows, errors = termlog.TermLog(out), dumper.Dumper(out), errorcheck.ErrorCheck()
    with taddons.context(terminal_log, flows) as context:
        terminal = Terminal(context.master, lambda: None)
        yield SimpleNamespace(
            out=out, log=terminal_log, dumper=flows, terminal=terminal, context=context, errors=errors.logger
        )
        terminal.remove()


def output_of(stage: Any) -> str:
    (output,) = (one for one in logging.getLogger().handlers if isinstance(one, Queued))
    assert output.is_written(5)
    return str(stage.out.getvalue())


def without_times(text: str) -> list[str]:
    return [line.partition("] ")[2] if line.startswith("[") else line for line in text.splitlines()]


def say_things() -> None:
    logger.warning("it is %s", "so", extra={"client": ("127.0.0.1", 5)})
    logger.debug("too quiet")
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")


def test_lines_are_those_that_mitmproxy_writes(stage: Any) -> None:
    say_things()
    own = stage.out.getvalue()
    stage.out.truncate(0)
    stage.out.seek(0)
    stage.terminal.install()
    stage.terminal.install()
    say_things()
    assert without_times(output_of(stage)) == without_times(own)
    assert "ValueError: why" in own


def test_the_level_is_that_of_mitmproxys_option_by_now(stage: Any) -> None:
    stage.terminal.install()
    stage.context.configure(stage.log, termlog_verbosity="error")
    logger.warning("no")
    logger.error("yes")
    assert without_times(output_of(stage)) == ["yes"]


def test_others_hear_of_a_line_when_it_is_said(stage: Any) -> None:
    """mitmproxy looks for errors of its start, and mitmweb shows lines."""
    stage.terminal.install()
    logger.error("at once")
    assert [record.getMessage() for record in stage.errors.has_errored] == ["at once"]


def test_lines_about_flows_keep_their_place(stage: Any) -> None:
    stage.terminal.install()
    stage.context.configure(stage.dumper, flow_detail=1)
    logger.warning("before")
    stage.dumper.response(tflow.tflow(resp=True))
    logger.warning("after")
    before, *flow, after = without_times(output_of(stage))
    assert (before, after) == ("before", "after")
    assert any("200 OK" in line for line in flow)


def test_afterwards_mitmproxy_writes_by_itself(stage: Any) -> None:
    stage.terminal.install()
    logger.warning("one")
    stage.terminal.remove()
    stage.terminal.remove()
    logger.warning("two")
    assert without_times(stage.out.getvalue()) == ["one", "two"]
    assert stage.dumper.outfp is stage.out
    assert not any(isinstance(one, Queued) for one in logging.getLogger().handlers)


def test_where_there_is_no_terminal_nothing_happens() -> None:
    with taddons.context() as context:
        before = list(logging.getLogger().handlers)
        terminal = Terminal(context.master, lambda: None)
        terminal.install()
        assert logging.getLogger().handlers == before
        terminal.remove()
        assert logging.getLogger().handlers == before
