"""What relay.yaml says that is hardly what was meant."""

from __future__ import annotations

from claude_relay.core.config import parse
from claude_relay.core.config.mistaken import mistaken

TEXT = """
routes:
  - {match: {client: claude-cli}, to: [anthropic]}
  - {match: {client: alice}, to: [anthropic]}
  - {match: {client: "*"}, to: [anthropic]}
  - {match: {program: curl}, to: [anthropic]}
faults:
  - {fault: 529, match: {client: "Python*"}}
"""


def test_a_program_where_a_client_is_meant() -> None:
    found = list(mistaken(parse(TEXT, environ={})))
    assert [(mistake.found.partition(" is ")[0], mistake.remedy) for mistake in found] == [
        ("routes[0].match.client", "write program: claude-cli"),
        ("faults[0].match.client", "write program: Python*"),
    ]
