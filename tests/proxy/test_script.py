"""What the relay keeps out of the log while it starts."""

from __future__ import annotations

import logging

import pytest
from mitmproxy.addons.errorcheck import ErrorCheck
from mitmproxy.test import taddons

from claude_relay.proxy.mitm.default_listener import DefaultListenerFilter

TAKEN = "[Errno 98] HTTP(S) proxy failed to listen on *:8080 with [Errno 98] address already in use"


def shown(message: str, default_listener: DefaultListenerFilter) -> bool:
    record = logging.LogRecord(DefaultListenerFilter.LOGGER, logging.ERROR, __file__, 1, message, (), None)
    return default_listener.filter(record)


@pytest.mark.parametrize("modes", [None, ["regular@127.0.0.1:18080"]])
def test_a_default_port_that_is_anothers_is_no_error_whenever_mitmproxy_finds_out(modes: list[str] | None) -> None:
    default_listener = DefaultListenerFilter()
    with taddons.context() as context:
        if modes is not None:
            default_listener.replaced = True
            context.options.update(mode=modes)
        assert not shown(TAKEN, default_listener)
        assert not shown("", default_listener)
        assert shown("something else", default_listener)


def test_what_mitmproxy_said_before_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    default_listener = DefaultListenerFilter()
    with taddons.context() as context:
        check = ErrorCheck()
        context.master.addons.add(check)
        try:
            logging.getLogger(DefaultListenerFilter.LOGGER).error(TAKEN)
            logging.getLogger("another").error("worse")
            default_listener.install()
        finally:
            check.finish()
            default_listener.remove()
    assert [record.getMessage() for record in check.logger.has_errored] == ["worse"]
    assert "That does not matter" in caplog.text


def test_a_port_that_the_user_named_is_missed() -> None:
    default_listener = DefaultListenerFilter()
    with taddons.context() as context:
        context.options.update(mode=["socks5"])
        assert shown(TAKEN, default_listener)
        assert shown("", default_listener)
