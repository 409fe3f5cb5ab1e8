"""How much of a request's body is taken: by its head alone."""

from __future__ import annotations

import pytest
from mitmproxy.test import tflow

from claude_relay.core.config import Bounds
from claude_relay.core.exchange import Endpoint
from claude_relay.proxy.request.intake import announced, consider, size_in_words, sizes_of, stalled, too_large

from .made import relayed, runtime

LIMITS = Bounds(request_body=40_000_000, file=512_000_000)


@pytest.mark.parametrize(
    ("endpoint", "method", "path", "expected"),
    [
        (Endpoint.MESSAGES, "POST", "/v1/messages", (40_000_000, 40_000_000)),
        (Endpoint.RESOURCE, "POST", "/v1/files", (40_000_000, 512_000_000)),
        (Endpoint.RESOURCE, "POST", "/v1/files/x?beta=true", (40_000_000, 512_000_000)),
        (Endpoint.RESOURCE, "POST", "/v1/filesystem", (40_000_000, 40_000_000)),
        (Endpoint.RESOURCE, "GET", "/v1/files", (40_000_000, 40_000_000)),
    ],
)
def test_files_may_be_larger_than_what_is_kept(
    endpoint: Endpoint, method: str, path: str, expected: tuple[int, int]
) -> None:
    request = tflow.treq(method=method.encode(), path=path.encode())
    assert sizes_of(LIMITS, endpoint, request) == expected


@pytest.mark.parametrize(
    ("told", "size"), [("12", 12), ("", 0), ("-1", 0), ("１２", 0), ("1e3", 0), ("9" * 30, 0), ("1_0", 0)]
)
def test_what_a_head_announces(told: str, size: int) -> None:
    assert announced({"content-length": told}) == size
    assert announced({}) == 0


@pytest.mark.parametrize(
    ("endpoint", "path", "size", "away", "through"),
    [
        (Endpoint.MESSAGES, "/v1/messages", 10_000, False, False),
        (Endpoint.MESSAGES, "/v1/messages", 20_001, True, False),
        (Endpoint.RESOURCE, "/v1/files", 20_001, False, True),
        (Endpoint.RESOURCE, "/v1/files", 50_001, True, False),
    ],
)
def test_what_its_size_makes_of_a_request(endpoint: Endpoint, path: str, size: int, away: bool, through: bool) -> None:
    flow = tflow.tflow()
    flow.request = tflow.treq(method=b"POST", path=path.encode())
    flow.request.headers["expect"] = "100-continue"
    on = runtime(limits={"request_body": 20_000, "file": 50_000})
    request = relayed(endpoint, on, headers={"content-length": str(size)})
    consider(flow, request)
    assert (request.turned_away is not None, request.goes_through) == (away, through)
    assert ("expect" in flow.request.headers) is not away


def test_words() -> None:
    assert [size_in_words(size) for size in (999, 40_000_000, 1_500_000)] == ["999 bytes", "40 MB", "1.5 MB"]
    assert (too_large(40_000_000).status, too_large(1).final) == (413, True)
    assert stalled("30").status == 408
