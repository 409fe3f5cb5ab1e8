"""mitmproxy's default listener may fail: nobody asked for it. Anything else that fails is said."""

from __future__ import annotations

import logging

import pytest
from mitmproxy.addons.errorcheck import ErrorCheck

from claude_relay.proxy.mitm.default_listener import DefaultListenerFilter
from proxy.stage import mitmproxy_with


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord(DefaultListenerFilter.LOGGER, logging.ERROR, __file__, 1, message, (), None)


FAILED = "HTTP(S) proxy failed to listen on *:8080 with [Errno 98] address already in use"


@pytest.mark.parametrize(
    ("message", "mode", "said"),
    [
        (FAILED, None, False),
        (FAILED, ["regular@8081"], True),
        ("HTTP(S) proxy failed to listen on 127.0.0.1:8082", None, True),
        ("something else", None, True),
    ],
)
def test_what_is_said(message: str, mode: list[str] | None, said: bool) -> None:
    with mitmproxy_with() as context:
        if mode:
            context.options.update(mode=mode)
        found = DefaultListenerFilter()
        assert found.filter(record(message)) is said
        assert found.filter(record("")) is said  # that it could not be stopped either


def test_what_mitmproxy_has_complained_of_before_does_not_end_it() -> None:
    check = ErrorCheck()
    found = DefaultListenerFilter()
    try:
        with mitmproxy_with(check):
            check.logger.has_errored = [record(FAILED), record("another")]
            found.install()
            assert [kept.getMessage() for kept in check.logger.has_errored] == ["another"]
            assert found in logging.getLogger(found.LOGGER).filters
    finally:
        found.remove()
        check.finish()
    assert found not in logging.getLogger(found.LOGGER).filters
