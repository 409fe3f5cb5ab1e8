"""How a shell's variables are set and taken away: one line each, safe to evaluate whatever the values hold.

>>> lines({"A": "it's", "B": None}, "fish")
["set -gx A 'it\\\\'s'", 'set -e B']
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shell:
    """The syntax of one: a line that sets, a line that takes away (and says nothing when there is nothing), a quoted value."""

    sets: str
    unsets: str
    quote: Callable[[str], str]
    evaluate: str
    """How its user evaluates what a command prints."""


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SHELLS = {
    "sh": Shell("export {}={}", "unset {}", shlex.quote, 'eval "$({command})"'),
    "fish": Shell("set -gx {} {}", "set -e {}", _fish, "{command} --shell fish | source"),
    "powershell": Shell(
        "$env:{} = {}",
        "Remove-Item Env:{} -ErrorAction SilentlyContinue",
        _powershell,
        "{command} --shell powershell | Out-String | Invoke-Expression",
    ),
}
ADDING = ("NODE_EXTRA_CA_CERTS",)
REPLACING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of CAs: to those that a program trusts, and in their place."""
SAME = {"bash": "sh", "zsh": "sh", "dash": "sh", "ksh": "sh", "pwsh": "powershell"}


def lines(variables: Mapping[str, str | None], shell: str) -> list[str]:
    """One line a variable; None: take it away."""
    kind = SHELLS[SAME.get(shell, shell)]
    return [
        kind.unsets.format(name) if value is None else kind.sets.format(name, kind.quote(value))
        for name, value in variables.items()
    ]
