"""What mitmdump loads when the relay is installed as a package; in a checkout it is addon/relay.py."""

from claude_relay.proxy.script import addons  # noqa: F401
