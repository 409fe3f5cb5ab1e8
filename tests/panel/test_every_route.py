"""All routes of the application, for everybody: each needs what its dependency says, and none was forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Mount

from claude_relay.panel.common.problems import Problem
from claude_relay.panel.security.doors import HEADERS
from claude_relay.panel.security.visitors import CSRF, OF_ROLE, OF_SCOPE, OPEN, READING, Level
from claude_relay.store.panel.admins import Role
from claude_relay.store.panel.api_tokens import Scope

from .inside import ACTOR, Inside

VISITORS = ("nobody", *Role, *Scope)
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    return Inside(tmp_path_factory.mktemp("routes"))


@pytest.fixture(scope="module")
def known(inside: Inside) -> dict[str, dict[str, str]]:
    """What each kind of visitor sends."""
    admins = {role: inside.add(role, role) for role in Role}
    found: dict[str, dict[str, str]] = {"nobody": {}}
    found |= {str(role): inside.signed_in(role) for role in Role}
    for scope in Scope:
        _, secret = inside.parts.tokens.add(ACTOR, admins[Role.ADMIN], scope, scope, None)
        found[str(scope) + " token"] = {"Authorization": f"Bearer {secret}"}
    return found


def routes(of: Any) -> Iterator[APIRoute]:
    for route in (of.app if isinstance(of, Inside) else of).routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from routes(router)
        elif isinstance(route, Mount):
            assert route.path.startswith("/static/"), f"{route.path}: a mount asks nobody who they are"
        else:
            assert isinstance(route, APIRoute), route
            yield route


def visiting(route: APIRoute) -> Any:
    """The dependency by which a route knows its visitor."""
    waiting, found = [route.dependant], []
    while waiting:
        one = waiting.pop()
        waiting += one.dependencies
        if hasattr(one.call, "level"):
            found.append(one.call)
    assert len(found) <= 1, f"{route.path}: one visitor is enough"
    return found[0] if found else None


def kinds(level: Level) -> dict[str, bool]:
    """Who may do so much."""
    roles = {str(role): OF_ROLE[role] >= level for role in Role}
    return {"nobody": False} | roles | {f"{scope} token": OF_SCOPE[scope] >= level for scope in Scope}


def test_each_route_asks_who_comes_or_is_open(inside: Inside) -> None:
    paths = [route.path for route in routes(inside)]
    assert len(paths) > 20
    assert {route.path for route in routes(inside) if visiting(route) is None} <= OPEN
    assert [route.path for route in routes(inside) if visiting(route) is not None and route.path in OPEN] == []
    assert {"/healthz", "/login", "/welcome", "/preferences", "/api/login", "/api/welcome"} <= {*paths}


def test_what_changes_something_needs_more_than_reading(inside: Inside) -> None:
    own = re.compile(r"/api/(logout|me(/.*)?|tokens(/.*)?|.*/(test|check|try))")
    for route in routes(inside):
        needs = visiting(route)
        if needs is not None and set(route.methods) & set(CHANGING) and not own.fullmatch(route.path):
            assert needs.level > Level.READ, route.path


def test_every_visitor_at_every_route(inside: Inside, known: dict[str, dict[str, str]]) -> None:
    """Who may not is refused by the application; who may is let pass by the dependency, which calls nothing."""
    for route in routes(inside):
        needs = visiting(route)
        if needs is None:
            continue
        path = re.sub(r"\{\w+(:\w+)?\}", "x", route.path)
        for kind, allowed in kinds(needs.level).items():
            if needs.oneself and kind in ("read token", "operate token"):
                allowed = False
            for method in route.methods & {"GET", *CHANGING}:
                where = f"{method} {route.path} by {kind}"
                if allowed:
                    assert let_pass(inside, needs, method, known[kind]), where
                else:
                    answer = inside.ask(method, path, {}, known[kind])
                    assert answer.status == (401 if kind == "nobody" else 403), where
                    assert HEADERS.items() <= answer.headers.items(), where


def test_every_change_by_a_browser_needs_its_token(inside: Inside, known: dict[str, dict[str, str]]) -> None:
    for route in routes(inside):
        if visiting(route) is not None:
            for method in route.methods & set(CHANGING):
                for said in ({}, {CSRF: known["viewer"]["X-CSRF-Token"]}):
                    path = re.sub(r"\{\w+(:\w+)?\}", "x", route.path)
                    answer = inside.ask(method, path, {}, {"Cookie": known["admin"]["Cookie"]} | said)
                    assert (answer.status, answer.json["type"]) == (403, "urn:claude-relay:problem:csrf"), route.path


def test_what_needs_a_fresh_password_asks_for_it_later(inside: Inside, known: dict[str, dict[str, str]]) -> None:
    wanting = {route.path for route in routes(inside) if (needs := visiting(route)) and needs.confirmed}
    assert {"/api/admins", "/api/me/totp", "/api/tokens", "/api/admins/{name}/link"} <= wanting
    inside.clock.now += 601
    answer = inside.ask("POST", "/api/tokens", {"name": "t", "scope": "read"}, known["admin"])
    assert answer.json["type"] == "urn:claude-relay:problem:confirm_password"
    assert inside.ask("POST", "/api/me/confirm", {"password": "wrong"}, known["admin"]).status == 403
    answer = inside.ask("POST", "/api/me/confirm", {"password": "correct horse battery"}, known["admin"])
    assert answer.status == 204
    assert inside.ask("POST", "/api/tokens", {"name": "t", "scope": "read"}, known["admin"]).status == 201


def let_pass(inside: Inside, needs: Any, method: str, headers: dict[str, str]) -> bool:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": method, "headers": fields, "client": ("127.0.0.1", 1), "path": "/"})
    try:
        needs(request, inside.parts)
    except Problem as problem:
        return problem.code == "confirm_password"
    return True


def test_methods_that_read_change_nothing() -> None:
    assert set(READING) & set(CHANGING) == set()
