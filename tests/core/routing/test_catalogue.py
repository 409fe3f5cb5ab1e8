"""The list of models: what routes serve, page by page."""

from dataclasses import dataclass, field
from datetime import datetime

import pytest
from anthropic.types import ModelInfo

from claude_relay.core.config.models import Config
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.core.routing.catalogue import (
    EPOCH,
    known,
    listers,
    model_answer,
    models,
    models_answer,
    passed_on,
    providers_to_query,
)

CLAUDE = list(known())


def config(providers: dict, routes: list | None = None, default: str | None = None) -> Config:
    return Config.model_validate({"providers": providers, "routes": routes or [], "default": default})


def names(given: Config) -> list[str]:
    return [model["id"] for model in models(given)]


NATIVE = {"format": "anthropic"}
CHAT = {"format": "openai-chat", "base_url": "https://chat.example/v1"}


@pytest.mark.parametrize(
    ("providers", "routes", "expected"),
    [
        pytest.param({"a": NATIVE}, [], CLAUDE, id="without routes everything goes to every provider"),
        pytest.param({"c": CHAT}, [], [], id="another format does not know Claude's names"),
        pytest.param(
            {"c": CHAT | {"models": {"q-?": "q", "k[12]": "k", "z": "z"}}}, [], ["z"], id="globs are no names"
        ),
        pytest.param(
            {"c": CHAT | {"models": {"CLAUDE-haiku-*": "glm-air"}}},
            [],
            [name for name in CLAUDE if "haiku" in name],
            id="but serves those that it renames",
        ),
        pytest.param(
            {"a": NATIVE, "c": CHAT},
            [{"match": {"model": "gpt-5.1"}, "to": ["c"]}, {"match": {"model": "claude-opus-*"}, "to": ["a"]}],
            [*(name for name in CLAUDE if "opus" in name), "gpt-5.1"],
            id="a route that names a model, and one with a glob",
        ),
        pytest.param(
            {"a": NATIVE, "c": CHAT | {"models": {"kimi": "moonshot/kimi-k2"}}},
            [{"match": {"model": "kimi"}, "to": ["c"]}],
            ["kimi"],
            id="a name is listed once",
        ),
        pytest.param(
            {"a": NATIVE, "c": CHAT | {"models": {"kimi": "moonshot/kimi-k2"}}},
            [{"match": {"model": "kimi"}, "to": ["a"]}, {"match": {"model": "claude-*"}, "to": ["c"]}],
            ["kimi"],
            id="a name that is routed past the provider that renames it",
        ),
        pytest.param(
            {"a": NATIVE, "c": CHAT | {"models": {"kimi": "moonshot/kimi-k2"}}},
            [{"match": {"model": "glm", "tools": True}, "to": ["c"]}, {"to": ["a"]}],
            [*CLAUDE, "glm"],
            id="a name whose own route wants more of a request goes where a plain one goes",
        ),
        pytest.param({"c": CHAT}, [{"match": {"model": "m", "thinking": True}, "to": ["c"]}], [], id="or nowhere"),
    ],
)
def test_the_list_holds_what_the_routes_serve(providers: dict, routes: list, expected: list[str]) -> None:
    assert names(config(providers, routes)) == expected


@pytest.mark.parametrize(
    ("default", "expected"),
    [(None, ["gpt-5.1"]), ("c", ["gpt-5.1"]), ("c/kimi", [*CLAUDE, "kimi", "gpt-5.1"]), ("a", [*CLAUDE, "gpt-5.1"])],
)
def test_what_comes_first_for_every_request_serves_every_name_it_can(default: str | None, expected: list[str]) -> None:
    routes = [{"match": {"model": "gpt-5.1"}, "to": ["c"]}]
    assert names(config({"a": NATIVE, "c": CHAT}, routes, default)) == expected


def test_every_model_is_one_of_the_api() -> None:
    listed = models(config({"c": CHAT | {"models": {"kimi": "k2", **dict.fromkeys(CLAUDE, "k2")}}}))
    assert [model["id"] for model in listed] == [*CLAUDE, "kimi"]
    for model in listed:
        ModelInfo.model_validate(model)
    assert listed[-1] == {
        "type": "model",
        "id": "kimi",
        "display_name": "kimi",
        "created_at": EPOCH,
        "lifecycle": "active",
    }


def test_the_data_is_newest_first_and_dated() -> None:
    dates = [datetime.fromisoformat(model.created_at) for model in known().values() if model.created_at != EPOCH]
    assert dates == sorted(dates, reverse=True)
    assert all(model.display_name.startswith("Claude ") for model in known().values())


@dataclass(frozen=True)
class Named:
    """A configuration of five models, m0 to m4."""

    @dataclass(frozen=True)
    class Provider:
        native: bool = False
        models: dict = field(default_factory=lambda: {f"m{n}": "x" for n in range(5)})

    routes: tuple = ()
    providers: dict = field(default_factory=lambda: {"p": Named.Provider()})
    default: str | None = None


@pytest.mark.parametrize(
    ("query", "page", "more"),
    [
        ({}, "01234", False),
        ({"limit": 5}, "01234", False),
        ({"limit": 2}, "01", True),
        ({"limit": 2, "after_id": "m1"}, "23", True),
        ({"limit": 2, "after_id": "m2"}, "34", False),
        ({"limit": 2, "after_id": "m4"}, "", False),
        ({"limit": 2, "before_id": "m3"}, "12", True),
        ({"limit": 2, "before_id": "m2"}, "01", False),
        ({"limit": 2, "before_id": "m0"}, "", False),
    ],
)
def test_pages(query: dict, page: str, more: bool) -> None:
    answer = models_answer(Named(), **query)
    ids = [f"m{n}" for n in page]
    assert [model["id"] for model in answer.pop("data")] == ids
    assert answer == {"has_more": more, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


@pytest.mark.parametrize("query", [{"after_id": "m9"}, {"before_id": "m9"}, {"after_id": "m1", "before_id": "m3"}])
def test_a_cursor_that_leads_nowhere_is_refused(query: dict) -> None:
    with pytest.raises(RelayError) as refused:
        models_answer(Named(), **query)
    assert refused.value.status == 400
    assert "after_id" in refused.value.message or "before_id" in refused.value.message


def test_one_model_needs_a_route_but_no_place_in_the_list() -> None:
    given = config({"a": NATIVE}, [{"match": {"model": "claude-*"}, "to": ["a"]}])
    assert model_answer(given, CLAUDE[0])["display_name"] == known()[CLAUDE[0]].display_name
    assert model_answer(given, "claude-of-tomorrow")["display_name"] == "claude-of-tomorrow"
    with pytest.raises(RelayError) as refused:
        model_answer(given, "gpt-5.1")
    assert refused.value.status == 404


# -- the providers' own lists


OTHER = {"format": "anthropic", "base_url": "https://other.example"}
ASKING = Facts(Endpoint.MODELS)


def own(*ids: str) -> dict:
    return {name: {"type": "model", "id": name, "display_name": name.upper(), "created_at": "2027"} for name in ids}


LISTS = {"a": own("claude-x", "claude-haiku-x"), "b": own("b-1", "claude-x")}
HAIKU = {"match": {"model": "claude-haiku-*"}, "to": ["c"]}
RENAMING = CHAT | {"models": {"claude-haiku-*": "small"}}


@pytest.mark.parametrize(
    ("providers", "routes", "default", "expected"),
    [
        pytest.param({"a": NATIVE}, [], None, ["claude-x", "claude-haiku-x"], id="one provider"),
        pytest.param({"a": NATIVE, "b": OTHER}, [], None, ["claude-x", "claude-haiku-x", "b-1"], id="in their order"),
        pytest.param({"b": OTHER, "a": NATIVE}, [], "a", ["claude-x", "claude-haiku-x", "b-1"], id="what comes first"),
        pytest.param(
            {"a": NATIVE, "c": RENAMING}, [HAIKU, {"to": ["a"]}], None, ["claude-x", "claude-haiku-x"], id="renamed"
        ),
        pytest.param({"a": NATIVE, "c": CHAT}, [HAIKU, {"to": ["a"]}], None, ["claude-x"], id="routed to nothing"),
        pytest.param(
            {"a": NATIVE, "c": CHAT}, [HAIKU | {"to": ["c", "a"]}, {"to": ["a"]}], None, [*LISTS["a"]], id="second hop"
        ),
        pytest.param(
            {"a": NATIVE, "b": OTHER},
            [{"match": {"model": "b-*"}, "to": ["a"]}, {"to": ["b"]}],
            None,
            ["claude-x"],
            id="only where it is listed",
        ),
        pytest.param(
            {"b": OTHER | {"models": {"claude-*": "b-1"}}},
            [],
            None,
            ["b-1", "claude-x", *CLAUDE],
            id="renaming natively",
        ),
        pytest.param(
            {"n": OTHER | {"models": {"*": "b-1"}}},
            [],
            None,
            CLAUDE,
            id="one that has one model is not asked for its list",
        ),
        pytest.param({"n": OTHER, "c": RENAMING}, [], None, CLAUDE, id="one that does not tell"),
        pytest.param(
            {"b": OTHER | {"models": {"claude-*": "b-1"}}, "a": NATIVE},
            [{"match": {"model": "claude-haiku-*"}, "to": ["b"]}, {"to": ["a"]}],
            None,
            ["claude-x", "claude-haiku-x"],
            id="no model of the built-in list that Claude does not list",
        ),
    ],
)
def test_lists_of_providers(providers: dict, routes: list, default: str | None, expected: list[str]) -> None:
    given = config(providers, routes, default)
    assert [model["id"] for model in models(given, ASKING, LISTS)] == expected


def test_a_model_stays_as_it_was_listed_and_is_completed_where_it_lacks_something() -> None:
    odd = {"a": {"m": {"id": "m", "object": "model", "capabilities": {"x": 1}}, **own("claude-x")}}
    first, second = models(config({"a": NATIVE}), ASKING, odd)
    assert first == {
        "type": "model",
        "id": "m",
        "display_name": "m",
        "created_at": EPOCH,
        "object": "model",
        "capabilities": {"x": 1},
    }
    assert second == own("claude-x")["claude-x"]


BLUE = {"match": {"header": {"x-team": "blue"}}, "to": ["b"]}
TWO = {"a": NATIVE, "b": OTHER, "c": CHAT}


@pytest.mark.parametrize(
    ("routes", "headers", "whose", "lists"),
    [
        pytest.param([{"to": ["a"]}], {}, ("a",), ("a",), id="one provider"),
        pytest.param([{"to": ["b", "a"]}], {}, ("b", "a"), ("b", "a"), id="several in one order"),
        pytest.param([{"match": {"model": "*"}, "to": ["a"]}], {}, ("a",), ("a",), id="a glob of all"),
        pytest.param([{"match": {"model": "claude-*"}, "to": ["a"]}], {}, (), ("a",), id="not for all models"),
        pytest.param([BLUE, {"to": ["a"]}], {}, ("a",), ("a",), id="another client's route"),
        pytest.param([BLUE, {"to": ["a"]}], {"x-team": "blue"}, ("b",), ("b",), id="this client's route"),
        pytest.param([{"match": {"model": "m"}, "to": ["b"]}, {"to": ["a"]}], {}, (), ("b", "a"), id="by model"),
        pytest.param(
            [{"match": {"background": True}, "to": ["b"]}, {"to": ["a"]}], {}, (), ("b", "a"), id="by purpose"
        ),
        pytest.param(
            [{"match": {"background": True}, "to": ["b"]}, {"to": ["a"]}],
            {"x-claude-code-request-class": "main"},
            ("a",),
            ("a",),
            id="by purpose, which is told",
        ),
        pytest.param([{"match": {"tools": True}, "to": ["c"]}, {"to": ["a"]}], {}, ("a",), ("a",), id="by tools"),
        pytest.param([{"to": ["a", "c"]}], {}, (), ("a",), id="another format"),
        pytest.param([{"match": {"tools": True}, "to": ["a"]}], {}, (), (), id="nothing"),
    ],
)
def test_whose_list_it_is(routes: list, headers: dict, whose: tuple, lists: tuple) -> None:
    facts, given = Facts(Endpoint.MODELS, headers=headers), config(TWO, routes)
    assert (passed_on(given, facts), listers(given, facts)) == (whose, lists)


@pytest.mark.parametrize(("default", "whose"), [("a", ("a", "b")), ("c", ()), ("a/claude-x", ()), ("b", ("b",))])
def test_what_comes_first_has_a_say(default: str, whose: tuple) -> None:
    assert passed_on(config(TWO, [{"to": ["b"]}], default), ASKING) == whose


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("claude-x", ()),
        ("claude-alias", ("a",)),
        ("claude-haiku-old", ()),
        ("claude-haiku-x", ()),
        ("gpt-5.1", ()),
        ("o9", ()),
    ],
)
def test_who_is_asked_for_one_model(name: str, asked: tuple) -> None:
    routes = [HAIKU, {"match": {"model": "gpt-*"}, "to": ["c"]}, {"to": ["c", "a"]}]
    assert providers_to_query(config({"a": NATIVE, "c": RENAMING}, routes), name, ASKING, LISTS) == asked


def test_a_client_with_another_route_asks_for_other_models() -> None:
    given = config({"a": NATIVE, "b": OTHER}, [BLUE, {"match": {"model": "claude-*"}, "to": ["a"]}])
    blue = Facts(Endpoint.MODELS, headers={"x-team": "blue"})
    assert [model["id"] for model in models(given, blue, LISTS)] == ["b-1", "claude-x"]
    assert [model["id"] for model in models(given, ASKING, LISTS)] == ["claude-x", "claude-haiku-x"]
    assert model_answer(given, "b-1", blue, LISTS)["display_name"] == "B-1"
    with pytest.raises(RelayError) as refused:
        providers_to_query(given, "b-1", ASKING, LISTS)
    assert refused.value.status == 404
