"""Load this into mitmproxy: mitmdump -s addon/relay.py"""

from claude_relay.proxy.script import addons  # noqa: F401
