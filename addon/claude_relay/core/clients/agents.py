"""Which agents belong together: an agent, its sub-agents, and theirs.

    trees = Trees()
    trees.root("alice", "session", agent="a1", parent=None)     'a1'
    trees.root("alice", "session", agent="a7", parent="a1")     'a1'

The main agent of a session names itself not, and is no tree but the session. It must not know where the names stand.
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 50_000
"""Agents that are remembered; those of longest ago are forgotten first. Clients choose the names."""
LONGEST = 128


class Trees:
    """The roots of the agents that were seen."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._roots: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def root(self, client: str, session: str, agent: str, parent: str | None) -> str:
        """The agent from which one came in the end, itself where it came from none. The same for ever, once it was said."""
        agent, parent = agent[:LONGEST], parent[:LONGEST] if parent else None
        known = self._roots.get((client, session, agent))
        if known is None:
            known = agent if parent in (None, agent) else self.root(client, session, str(parent), None)
        self._roots[client, session, agent] = known
        self._roots.move_to_end((client, session, agent))
        while len(self._roots) > self._most:
            self._roots.popitem(last=False)
        return known
