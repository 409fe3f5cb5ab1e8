"""Words on the command line of `relay` that mitmproxy would take in silence, although they do not do what was meant.

    objection(["-p", "9000"])           -> "-p has no effect: …"
    objection(["-w", "flows", "~s"])    -> ""

It must not know what the relay's own options do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from claude_relay.core.installation import command

SHORT: Final = "BCHMSmprsw"
"""Letters of options of mitmdump's and mitmweb's that are followed by a value: `mitmdump --help`, version 12."""
LONG: Final = (
    "--allow-hosts",
    "--cert-passphrase",
    "--certs",
    "--client-replay",
    "--flow-detail",
    "--ignore-hosts",
    "--intercept",
    "--listen-host",
    "--listen-port",
    "--map-local",
    "--map-remote",
    "--mode",
    "--modify-body",
    "--modify-headers",
    "--proxyauth",
    "--rfile",
    "--save-stream-file",
    "--scripts",
    "--server-replay",
    "--server-replay-extra",
    "--set",
    "--stickyauth",
    "--stickycookie",
    "--tcp-hosts",
    "--upstream-auth",
    "--web-host",
    "--web-port",
)
"""Names of these."""
PLACES: Final = ("-p", "--listen-port", "--listen-host", "--port")
PLACE_OPTIONS: Final = ("listen_port", "listen_host")
EXPRESSIONS: Final = ("~", "!", "(", '"', "'")
"""How a filter expression begins; a bare word would be one too, but nobody means that."""


def objection(arguments: Sequence[str]) -> str:
    """What is wrong with the arguments for mitmproxy, and what to write instead; empty when nothing is."""
    words = list(parts(arguments))
    if not has_mode(arguments):
        for option, value in words:
            if option in PLACES or (option == "--set" and value.partition("=")[0] in PLACE_OPTIONS):
                said = f"--set {value.partition('=')[0]}" if option == "--set" else option
                return f"{said} has no effect here. Where the relay listens stands in relay.yaml: listen.proxy and listen.base_url."
    for before, (option, value) in pairwise([("", ""), *words]):
        if not option and value.startswith(EXPRESSIONS):
            break  # all that follows belongs to it
        # After a long option that has no value here it may be that of one that nobody knows; mitmproxy says so.
        if not option and not before[0].startswith("--"):
            return (
                f"{value!r} is no option. Another configuration: --config FILE. A filter of what is shown: '~u {value}'. "
                f"All options: {command('relay')} --help"
            )
    return ""


def parts(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, `("-p", "9000")`, and words that belong to none, `("", "word")`. Long options may be shortened."""
    rest = iter(arguments)
    for word in rest:
        option, joined, value = word.partition("=")
        if word.startswith("--"):
            has_value = not joined and any(name.startswith(option) for name in LONG)
            yield option, next(rest, "") if has_value else value
        elif word.startswith("-") and word != "-":
            yield from _short(word, rest)
        else:
            yield "", word


def _short(word: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """`-qp9000` and `-qp 9000` are `-q` and `-p 9000`."""
    for place, letter in enumerate(word[1:], 2):
        if letter in SHORT:
            yield f"-{letter}", word[place:] or next(rest, "")
            return
        yield f"-{letter}", ""


def has_mode(arguments: Sequence[str]) -> bool:
    """True when the user says where to listen."""
    return any(
        option in ("--mode", "-m") or (option == "--set" and value.startswith("mode="))
        for option, value in parts(arguments)
    )
