"""What is in a file with recorded requests, whichever kind it is.

    found = read(data, "agent.flow")
    found.requests       those that can be sent again, in their order
    found.left_out       why others cannot, a line each

Raises Unusable when there is none that can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from claude_relay.core.bodies.lenient import BOM

from . import flow_files, har
from .recorded import Recorded, Unusable

BEGINNING: Final = 64
"""Bytes by which a kind is known."""
LEFT_OUT: Final = 3
"""Reasons that are told when nothing is left."""
USABLE: Final = "Requests to /v1/messages can be sent again, from mitmproxy's files of flows and from HAR."


@dataclass(frozen=True, slots=True)
class Recording:
    """Of one file."""

    requests: tuple[Recorded, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Recorded | Unusable], name: str) -> Recording:
        """Raises Unusable when nothing of it can be sent again."""
        everything = tuple(found)
        requests = tuple(one for one in everything if isinstance(one, Recorded))
        left_out = tuple(str(one) for one in everything if isinstance(one, Unusable))
        if not requests:
            raise Unusable(f"{'; '.join(left_out[:LEFT_OUT]) or f'{name}: there is no request in it'}. {USABLE}")
        return cls(requests, left_out)


def read(data: bytes, name: str) -> Recording:
    """All of a file. Raises Unusable."""
    data = data.removeprefix(BOM)
    kind = har if data[:BEGINNING].lstrip().startswith(b"{") else flow_files
    return Recording.of(kind.requests(data, name), name)
