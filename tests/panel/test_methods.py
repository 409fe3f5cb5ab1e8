"""What every address has without a route of its own: HEAD, OPTIONS, `Allow`, and that it takes no parameter which it does not know."""

from __future__ import annotations

import socket

import pytest

from waiting import PATIENCE

from .stage import Panel


def test_head_is_get_without_its_body(panel: Panel) -> None:
    for path in ("/healthz", "/api/providers", "/keys", "/api/nothing"):
        got, head = panel.get(path), panel.ask("HEAD", path)
        assert (head.status, head.body) == (got.status, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers["content-security-policy"] == got.headers["content-security-policy"]
    assert panel.ask("HEAD", "/api/events").status == 200  # which has no end
    assert panel.ask("HEAD", "/api/providers", headers={"Cookie": ""}).status == 401


def test_allow_names_every_method_of_an_address(panel: Panel) -> None:
    known = {"/api/providers": "GET, POST, HEAD, OPTIONS", "/api/keys/x": "GET, PATCH, DELETE, HEAD, OPTIONS"}
    for path, methods in (known | {"/healthz": "GET, HEAD, OPTIONS", "/": "GET, HEAD, OPTIONS"}).items():
        for method, status in (("OPTIONS", 204), ("TRACE", 405)):
            answer = panel.ask(method, path)
            assert (answer.status, answer.headers["allow"]) == (status, methods), (method, path)
    assert panel.ask("OPTIONS", "/api/nothing").status == 404
    assert "access-control-allow-origin" not in panel.ask("OPTIONS", "/api/providers").headers


@pytest.mark.parametrize("query", ["modle=x", "limit=5&Provider=glm"])
def test_a_filter_that_is_spelt_wrongly_is_not_left_out(panel: Panel, query: str) -> None:
    answer = panel.get(f"/api/requests?{query}")
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [one["field"] for one in answer.json["errors"]] == [query.rpartition("&")[2].partition("=")[0]]
    assert panel.get(f"/api/requests?{query}", Cookie="").status == 401
    assert panel.get("/healthz?t=1").status == 200


@pytest.mark.parametrize(("query", "field"), [("sort=x", "sort"), ("tier=x", "tier"), ("status=x", "status")])
def test_wrong_filters_of_keys(panel: Panel, query: str, field: str) -> None:
    answer = panel.get(f"/api/keys?{query}")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


def test_a_body_whose_length_was_not_said_ends_too(panel: Panel) -> None:
    begin = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\nContent-Type: application/json\r\n"
    piece = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    with socket.create_connection(("127.0.0.1", panel.port), PATIENCE) as connection:
        connection.sendall(f"{begin}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(17):
            connection.sendall(piece)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
