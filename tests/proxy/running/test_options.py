"""mitmproxy's options as the relay needs them: set where nobody did, refused where they break a promise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.addons.dumper import Dumper
from mitmproxy.addons.proxyserver import Proxyserver

from claude_relay.core.config import parse
from claude_relay.proxy.running.options import CHATTY, FIXED, Options, host_patterns
from proxy.stage import mitmproxy_with

CONFIG = parse("intercept: {hosts: [api.anthropic.com, other.example]}", environ={})


@pytest.fixture
def options() -> Iterator[Any]:
    """mitmproxy's, with those of two addons."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    with mitmproxy_with(Proxyserver(), Dumper()) as context:
        yield context.options
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_hosts_are_meant_on_any_port_and_no_others() -> None:
    assert host_patterns(["a.example"]) == [r"^a\.example:\d+$"]


def test_what_the_relay_needs_is_set(options: Any) -> None:
    Options().apply(CONFIG)
    assert options.allow_hosts == host_patterns(CONFIG.intercept.hosts)
    assert {name: getattr(options, name) for name in FIXED} == FIXED
    assert options.flow_detail == 0


def test_what_the_user_has_set_stays(options: Any) -> None:
    options.update(flow_detail=3, tcp_timeout=9000)
    Options().apply(CONFIG)
    assert (options.flow_detail, options.tcp_timeout) == (3, 9000)


@pytest.mark.parametrize(("name", "value"), [("allow_hosts", ["evil"]), ("body_size_limit", "1m")])
def test_what_breaks_a_promise_is_refused_and_nothing_is_set(options: Any, name: str, value: object) -> None:
    options.update(**{name: value})
    with pytest.raises(exceptions.OptionsError, match=name):
        Options().apply(CONFIG)
    assert options.flow_detail == 1


def test_changes_while_it_runs(options: Any) -> None:
    found = Options()
    found.apply(CONFIG)
    found.check({"flow_detail"})
    options.update(allow_hosts=["other"])
    with pytest.raises(exceptions.OptionsError, match="allow_hosts"):
        found.check({"allow_hosts"})


def test_another_configuration_has_other_hosts(options: Any) -> None:
    found = Options()
    found.apply(CONFIG)
    found.apply(parse("intercept: {hosts: [third.example]}", environ={}))
    assert options.allow_hosts == host_patterns(["third.example"])


def test_an_upstream_that_nobody_verifies_is_told_of_once(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = Options()
    options.update(ssl_insecure=True)
    found.apply(CONFIG)
    found.check({"ssl_insecure"})
    assert caplog.text.count("ssl_insecure is set") == 1
