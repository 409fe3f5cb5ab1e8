"""The real clients through the relay: Claude Code (whole runs and its terminal interface), the Python SDK, the TypeScript SDK.

packages   where the npm packages are that package.json beside this file names, and why the tests are skipped without them
mind       a Claude that understands the prompts of these tests: it answers, runs tools, thinks
stage      the quick start: a relay with keys, and the clients' environment as `scripts/env` makes it in a shell without them
terminal   a program in a terminal of its own: what stands on the screen, keys to press
turns      a pool of one good key and one of each bad kind, and Claude Code driven through it for so many turns

Everything happens in an empty HOME and on 127.0.0.1: the clients' updates, telemetry and other side traffic are off.
"""
