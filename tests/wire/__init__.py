"""Tests on the wire: a real mitmproxy with the relay, real sockets, real SDK clients, and a scripted Claude upstream.

certs      a certificate authority for the upstreams
claude     the made-up Claude's bodies, events and headers: cli/fake/messages
upstream   FakeUpstream: HTTP/1.1, TLS and HTTP/2 on a port of its own; records all, answers by script
steps      what a script is made of: a message, a stream, a cut, a stall, …, and the made-up Claude's faults by name
relay      Relay: mitmproxy with addon/relay.py in this process; RelayProcess: the same as a process
forked     ForkedRelay: such a process that starts in a moment
clients    raw HTTP/1.1, HTTP/2 and Anthropic SDK clients
"""

import warnings

with warnings.catch_warnings():  # mitmproxy's own imports warn about its libraries; our tests take warnings for errors
    warnings.simplefilter("ignore", DeprecationWarning)
    import mitmproxy.addons  # noqa: F401

from claude_relay.cli.fake import messages as claude

__all__ = ["claude"]
