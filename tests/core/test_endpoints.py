"""Whose credential may leave with a path. What is not clear goes with the client's own (SIDE)."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import endpoints
from claude_relay.core.endpoints import classify, normalise_path
from claude_relay.core.exchange import Endpoint

KINDS = {
    # Claude's API
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/messages?beta=true": Endpoint.MESSAGES,
    "/v1/messages?": Endpoint.MESSAGES,
    "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    "/v1/messages/count_tokens?beta=true": Endpoint.COUNT_TOKENS,
    "/v1/models": Endpoint.MODELS,
    "/v1/models?limit=1000": Endpoint.MODELS,
    "/v1/models/claude-opus-4-6": Endpoint.MODELS,
    "/v1/models/vendor@2026-01-01:latest": Endpoint.MODELS,
    "/v1/complete": Endpoint.COMPLETE,
    "/v1/messages/batches": Endpoint.RESOURCE,
    "/v1/messages/batches/msgbatch_01/results": Endpoint.RESOURCE,
    "/v1/files": Endpoint.RESOURCE,
    "/v1/files/file_01/content": Endpoint.RESOURCE,
    "/v1/skills?beta=true": Endpoint.RESOURCE,
    "/v1/modelsx": Endpoint.RESOURCE,
    "/v1/completely": Endpoint.RESOURCE,
    # what clients ask beside it
    "/api/claude_code/settings": Endpoint.SIDE,
    "/api/event_logging/v2/batch": Endpoint.SIDE,
    "/v1/oauth/token": Endpoint.SIDE,
    "/v1/oauth": Endpoint.SIDE,
    "/v1/OAuth/token": Endpoint.SIDE,
    "/": Endpoint.SIDE,
    "": Endpoint.SIDE,
    "?": Endpoint.SIDE,
    "*": Endpoint.SIDE,
    "/v1": Endpoint.SIDE,
    "/v1/": Endpoint.SIDE,
    "/v1?x=/v1/messages": Endpoint.SIDE,
    "/v10/messages": Endpoint.SIDE,
    "/V1/messages": Endpoint.SIDE,
    "/v1/Messages": Endpoint.RESOURCE,
    # other ways to write the same
    "/v1/messages/": Endpoint.MESSAGES,
    "/v1/messages/?beta=true": Endpoint.MESSAGES,
    "//v1//messages": Endpoint.MESSAGES,
    "/v1/./messages": Endpoint.MESSAGES,
    "/v1/%6dessages": Endpoint.MESSAGES,
    "/%76%31/messages": Endpoint.MESSAGES,
    "/v1%2fmessages": Endpoint.MESSAGES,
    "/api/../v1/messages": Endpoint.MESSAGES,
    "/../../v1/messages": Endpoint.MESSAGES,
    "/v1/models/../messages": Endpoint.MESSAGES,
    # attempts to carry a key elsewhere
    "/v1/messages/../oauth/token": Endpoint.SIDE,
    "/v1/messages/../../api/x": Endpoint.SIDE,
    "/v1/messages%2f..%2f..%2fapi/x": Endpoint.SIDE,
    "/v1/messages/%2e%2e/%2E%2E/api/x": Endpoint.SIDE,
    "/v1/%6fauth/token": Endpoint.SIDE,
    "/v1//oauth/token": Endpoint.SIDE,
    "/v1/files/..": Endpoint.SIDE,
    "/v1/messages/%252e%252e/%252e%252e/api": Endpoint.SIDE,  # for a server that decodes twice
    "/v1/%256fauth/token": Endpoint.SIDE,
    "/v1/..;/api/x": Endpoint.SIDE,  # for a server that cuts parameters off
    "/v1/oauth;x/token": Endpoint.SIDE,
    "/v1/messages;x": Endpoint.SIDE,
    "/v1\\..\\api": Endpoint.SIDE,
    "/v1/messages\\..\\..\\api": Endpoint.SIDE,
    "/v1/messages%5c..%5c..%5capi": Endpoint.SIDE,
    "/v1/messages%3fx": Endpoint.SIDE,
    "/v1/messages%23": Endpoint.SIDE,
    "/v1/messages#x": Endpoint.SIDE,
    "/v1/messages%00": Endpoint.SIDE,
    "/v1/messages%0d%0aX-Api-Key:%20x": Endpoint.SIDE,
    "/v1/messages ": Endpoint.SIDE,
    "/v1/messages%": Endpoint.SIDE,
    "/v1/messages%zz": Endpoint.SIDE,
    "/v1/message\u017f": Endpoint.SIDE,  # a letter that some servers fold to "s"
    "/v1/\uff0e\uff0e/api": Endpoint.SIDE,  # full-width dots
    "/v1/%c0%ae%c0%ae/api": Endpoint.SIDE,  # overlong dots
    "/v1/messages\udcff": Endpoint.SIDE,
    "http://api.anthropic.com/v1/messages": Endpoint.SIDE,
    "//evil.example/v1/messages": Endpoint.SIDE,
}


@pytest.mark.parametrize(("path", "kind"), KINDS.items())
def test_kind_of_a_path(path, kind):
    assert classify(path) is kind


NORMAL = {
    "": "/",
    "?x": "/?x",
    "/v1/messages?beta=true": "/v1/messages?beta=true",
    "//v1/%6dessages/?beta=true": "/v1/messages?beta=true",
    "/v1/messages?a=%2F../..//b;c&d=?e%20f": "/v1/messages?a=%2F../..//b;c&d=?e%20f",
    "/v1/messages?": "/v1/messages?",
    "/v1/files/a%20b%0d%0a": "/v1/files/a%20b%0D%0A",
    "/v1/files/a%3fb": "/v1/files/a%3Fb",
    "/v1/files/a%252fb": "/v1/files/a%252fb",
    "/v1/files/%C3%A9": "/v1/files/%C3%A9",
    "/v1/files/é": "/v1/files/%C3%A9",
    "/v1/files/%ff": "/v1/files/%FF",
    "/v1/files/\udcff": "/v1/files/%FF",
    "/v1/models/vendor%3Amodel@1": "/v1/models/vendor:model@1",
    "/a/./b//../c/": "/a/c",
    "/../..": "/",
}


@pytest.mark.parametrize(("path", "normal"), NORMAL.items())
def test_normal_form(path, normal):
    assert normalise_path(path) == normal


PATHS = st.one_of(
    st.text(alphabet=st.characters(), max_size=40),
    st.lists(
        st.sampled_from(
            ["/", "v1", "messages", "oauth", "models", "..", ".", "%2e", "%2f", "%25", ";", "?", "\\", "%", "é", "x"]
        ),
        max_size=12,
    ).map("".join),
)


@given(PATHS)
def test_what_is_sent_is_what_was_judged(path):
    normal = normalise_path(path)
    assert classify(normal) is classify(path)
    assert normalise_path(normal) == normal


@given(PATHS)
def test_the_normal_form_can_go_on_the_wire(path):
    route, mark, query = normalise_path(path).partition("?")
    assert (mark, query) == path.partition("?")[1:]
    assert route.startswith("/")
    assert route.isascii()
    assert not set(route) & set(' #\\;"<>\r\n\t\x00')
    assert not {"..", "."} & set(route.split("/"))
    assert "//" not in route


@given(PATHS)
def test_a_key_of_the_pool_leaves_only_on_plain_paths_below_v1(path):
    if classify(path) is not Endpoint.SIDE:
        route = normalise_path(path).partition("?")[0]
        assert route.startswith("/v1/")
        assert not route.lower().startswith("/v1/oauth")
        assert not {"%", ";"} & set(route)


AT_BASE = {
    "/api/v1/messages": "/v1/messages",
    "/api/v1/messages?beta=true&x=/api/v1": "/v1/messages?beta=true&x=/api/v1",
    "//api/./v1//messages/count_tokens/": "/v1/messages/count_tokens",
    "/api/v1/models/claude-x?limit=1": "/v1/models/claude-x?limit=1",
    "/api/v1/messages/batches/b/results": "/v1/messages/batches/b/results",
    "/%61pi/v1/files": "/v1/files",
    "/api/v1": "/v1",
    "/api/api/v1/messages": "/api/api/v1/messages",
    "/api/v10/messages": "/api/v10/messages",
    "/api/hello?x=1": "/api/hello?x=1",
    "/apiv1/messages": "/apiv1/messages",
    "/api/v1/../x//y/": "/api/v1/../x//y/",
    "//v1/messages/": "//v1/messages/",
    "/api/v1;/messages": "/api/v1;/messages",
}


@pytest.mark.parametrize(("path", "meant"), AT_BASE.items())
def test_what_a_path_at_the_base_url_means(path, meant):
    assert endpoints.at_base_url(path) == meant


@pytest.mark.parametrize("path", ["/health", "/v1/health", "//v1/health/?x=1", "/V1/Health", "/v1/x/../%68ealth"])
def test_the_page_health(path):
    assert endpoints.own_page(path) is endpoints.Page.HEALTH


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource/v1",
        "/oauth",
        "/OAuth/authorize?x",
        "/device/code",
        "/v1/health/live",
        "/relay/clients",
    ],
)
def test_pages_that_are_not_there(path):
    assert endpoints.own_page(path) is endpoints.Page.UNBUILT


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/.well-known/oauth-authorization-server", endpoints.Page.OAUTH_METADATA),
        ("/oauth/device_authorization", endpoints.Page.DEVICE_AUTHORIZATION),
        ("/oauth/token", endpoints.Page.TOKEN),
        ("/OAuth/Token/", endpoints.Page.TOKEN),
        ("/oauth/revoke", endpoints.Page.REVOKE),
        ("/device?user_code=WDJB-MJHT", endpoints.Page.DEVICE),
        ("/api/oauth/usage", endpoints.Page.USAGE),
        ("/managed/settings", endpoints.Page.SETTINGS),
        ("/v1/metrics", endpoints.Page.OTLP),
        ("/v1/logs/", endpoints.Page.OTLP),
        ("//v1/%74races", endpoints.Page.OTLP),
        ("/relay/me", endpoints.Page.ME),
        ("/relay/ca.pem", endpoints.Page.CA_PEM),
    ],
)
def test_pages_of_its_own(path, page):
    assert endpoints.own_page(path) is page


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/messages",
        "/v1/oauth/token",
        "/healthy",
        "/api/oauth/profile",
        "/.well-known/x",
        "/relayed",
        "/v1/metricsx",
    ],
)
def test_pages_of_others(path):
    assert endpoints.own_page(path) is None


@given(PATHS)
def test_no_spelling_of_the_base_url_gets_a_key_that_its_meaning_does_not(path):
    meant = endpoints.at_base_url(path)
    assert endpoints.at_base_url(meant) == meant or meant.startswith("/v1")
    assert meant == path or meant.startswith("/v1")
    assert endpoints.own_page(path) is endpoints.own_page(normalise_path(path))


def test_examples_in_the_documentation():
    assert doctest.testmod(endpoints).failed == 0
