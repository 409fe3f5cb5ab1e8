"""Requests in mitmproxy's files of flows: `mitmdump -w`, mitmweb's Save.

    for recorded in requests(data, "agent.flow"): ...          Recorded, or the Unusable that one of them is

Failed attempts, which mitmweb saves beside their request, are left out. The fields that are read are those of mitmproxy 7 and later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from . import tnetstring
from .recorded import Recorded, Unusable

ATTEMPT: Final = "attempt "
"""How the comment of a flow begins that is no request of a client's, but what the relay sent for one."""


def requests(data: bytes, name: str) -> Iterator[Recorded | Unusable]:
    """In their order. Raises Unusable for what is no such file."""
    number = 0
    try:
        for flow in tnetstring.values(data):
            if not isinstance(flow, Mapping) or not isinstance(request := flow.get("request"), Mapping):
                continue
            if _text(flow.get("comment")).startswith(ATTEMPT):
                continue
            number += 1
            yield _request(f"{name} {number}", request)
    except (ValueError, TypeError) as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable(f"{name}: it is no file of flows, or a damaged one ({error})") from None


def _request(name: str, request: Mapping[str, Any]) -> Recorded | Unusable:
    fields = [(bytes(n), bytes(v)) for n, v in request.get("headers") or ()]
    try:
        return Recorded.of(
            name, _text(request.get("method")), _text(request.get("path")), fields, request.get("content")
        )
    except Unusable as error:
        return error


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
