"""What other gateways' exports say, in their documented forms."""

from __future__ import annotations

import json

import pytest

from claude_relay.core.imports.decoding import document
from claude_relay.core.imports.found import Credential, Found, Names, NewClient, NewGroup
from claude_relay.core.imports.gateways import SOURCES

from .exports import ACCOUNTS, CLIENT_KEY, CLIPROXY_YAML, LITELLM, LITELLM_YAML, NEW_API, RELAY_SERVICE, SECRETS


def clients(gateway: str, found: object) -> Found:
    return SOURCES[gateway].clients(found)


def limits(one: NewClient | NewGroup) -> list[str]:
    return [str(limit) for limit in one.policy.limits]


def test_clients_of_claude_relay_service() -> None:
    found = clients("claude-relay-service", RELAY_SERVICE)
    alice, other = found.clients
    assert (alice.name, alice.note, alice.owner, alice.tags, alice.enabled) == (
        "alice",
        "web team",
        "u-1",
        ("web", "red"),
        True,
    )
    assert limits(alice) == ["3 concurrent", "60 requests/minute", "$20/day", "$50.5/week model claude-*"]
    assert (alice.policy.programs, alice.expires_at) == (("claude-cli*",), "2027-01-01T00:00:00.000Z")
    assert alice.notes == ()
    assert (other.name, other.note, other.enabled) == ("2", "\u5f20\u4e09 / 2", False)
    assert (other.expires_at, other.expires_after) == (None, 12 * 3600.0)
    assert limits(other) == ["3 requests/minute", "2000 tokens/minute", "$10/5h"]
    assert "claude-opus-4-1" in other.notes[2]
    assert other.notes[3] == "services that it may use (gemini)"  # Claude is what there is here
    assert [note.partition(" ")[0] for note in other.notes] == ["900", "600000", "models", "services", "accounts"]
    assert found.notes == ("API keys that were deleted there are left out: 1",)


def test_accounts_of_claude_relay_service() -> None:
    found = SOURCES["claude-relay-service"].credentials(ACCOUNTS, {})
    first, second = found.credentials
    assert (first.secret, first.base_url) == (SECRETS[0], "https://api.anthropic.com")
    assert first.fields == {
        "label": "main",
        "enabled": True,
        "concurrent": 4,
        "proxy": "socks5://u:p@proxy.example:1080",
    }
    assert second.fields == {"label": "off", "enabled": False}
    assert found.notes == ("accounts that are logins, not API keys, are left out: 1",)


def test_keys_of_litellm() -> None:
    found = clients("litellm", LITELLM)
    alice, bob, nothing = found.clients
    [team] = found.groups
    assert (team.name, limits(team)) == ("Web-team", ["500000 tokens/minute", "$100/month"])
    assert (alice.group, alice.owner, alice.tags, alice.was) == ("Web-team", "u-1", ("web",), "sk-...91ab")
    assert alice.policy.models == ("claude-sonnet-5", "claude-haiku-*")
    assert limits(alice) == [
        "60 requests/minute", "100000 tokens/minute", "2 concurrent", "$20/day", "$5/month model claude-opus-4-1",
        "6 requests/minute model claude-opus-4-1",
    ]  # fmt: skip
    assert (bob.name, bob.enabled, bob.policy.models, limits(bob)) == ("bob@example.com", False, (), ["$9/day"])
    assert bob.notes[0] == "a budget per 12h became one per day"
    assert (nothing.name, nothing.enabled, nothing.policy.models) == ("alice-2", False, ())


@pytest.mark.parametrize(
    ("duration", "per"),
    [
        ("5h", "5h"),
        ("24h", "day"),
        ("7d", "week"),
        ("30d", "month"),
        ("1mo", "month"),
        ("90d", "total"),
        (None, "total"),
    ],
)
def test_budgets_never_allow_more_in_any_time(duration: str | None, per: str) -> None:
    [one] = clients("litellm", {"keys": [{"key_alias": "a", "max_budget": 7, "budget_duration": duration}]}).clients
    assert limits(one) == [f"$7/{per}"]


def test_credentials_of_litellm() -> None:
    found = SOURCES["litellm"].credentials(document(LITELLM_YAML.encode()), {"SECOND_KEY": SECRETS[1]})
    assert found.credentials == (
        Credential(
            "model 1", SECRETS[0], "https://api.anthropic.com",
            {"label": "sonnet", "requests_per_minute": 50, "tokens_per_minute": 40000, "weight": 2.0},
        ),
        Credential("model 2", SECRETS[1], "https://api.anthropic.com", {"label": "haiku"}),
        Credential("model 5", SECRETS[2], "https://open.bigmodel.cn/api/paas/v4", {"label": "glm"}),
    )  # fmt: skip
    assert found.notes == ("the variable UNSET_KEY is not set here; set it as where LiteLLM runs",)


def test_cliproxyapi() -> None:
    found = document(CLIPROXY_YAML.encode())
    assert [(one.name, one.was) for one in clients("cliproxyapi", found).clients] == [
        ("client-1", f"…{CLIENT_KEY[-4:]}"),
        ("client-2", "…"),
    ]
    assert SOURCES["cliproxyapi"].credentials(found, {}).credentials == (
        Credential(
            "claude-api-key 1",
            SECRETS[0],
            "https://api.anthropic.com",
            {"label": "test", "weight": 5.0, "proxy": "direct"},
        ),
        Credential("claude-api-key 2", SECRETS[1], "https://open.bigmodel.cn/api/anthropic"),
        Credential("other 1", SECRETS[2], "https://llm.example/v1", {"label": "other"}),
    )


def test_tokens_of_new_api() -> None:
    alice, other, spent = clients("new-api", NEW_API).clients
    assert (alice.name, alice.tags, alice.owner, limits(alice)) == ("alice", ("vip",), "7", ["$5/total"])
    assert alice.policy.models == ("claude-sonnet-5", "claude-haiku-4-5")
    assert alice.policy.addresses == ("10.0.0.0/24", "192.0.2.7/32")
    assert alice.expires_at == "2027-01-01T00:00:00.000Z"
    assert "nonsense" in alice.notes[0]
    assert (other.name, other.enabled, other.tags, limits(other)) == ("alice-2", False, (), [])
    assert (spent.enabled, limits(spent)) == (False, [])


def test_channels_of_new_api() -> None:
    found = SOURCES["new-api"].credentials(NEW_API, {}).credentials
    assert [(one.secret, one.base_url, one.fields["enabled"]) for one in found] == [
        (SECRETS[0], "https://api.anthropic.com", True),
        (SECRETS[1], "https://api.anthropic.com", False),
        (SECRETS[2], "https://llm.example", False),
    ]
    assert found[0].fields["weight"] == 3


@pytest.mark.parametrize(
    "answer", [{"success": True, "data": {"items": NEW_API["tokens"]}}, {"data": NEW_API["tokens"]}, NEW_API["tokens"]]
)
def test_tokens_as_the_api_answers_them(answer: object) -> None:
    assert clients("new-api", answer).clients == clients("new-api", NEW_API).clients


@pytest.mark.parametrize("gateway", SOURCES)
@pytest.mark.parametrize(
    "wrong", [{}, [], {"data": 3}, {"keys": "x"}, [1, 2], {"apiKeys": [3]}, None, {"api-keys": None}]
)
def test_what_is_no_export_says_what_to_give(gateway: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"there (is|are) no"):
        SOURCES[gateway].clients(wrong)
    with pytest.raises(ValueError, match=r"there (is|are) no"):
        SOURCES[gateway].credentials(wrong, {})


def test_no_key_of_a_client_is_taken_over_or_shown() -> None:
    for gateway, exported in (
        ("new-api", NEW_API),
        ("cliproxyapi", document(CLIPROXY_YAML.encode())),
        ("litellm", LITELLM),
    ):
        assert CLIENT_KEY not in repr(clients(gateway, exported))


def test_documents() -> None:
    assert document(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert document(b'{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]
    assert document(b"name,note,limits\nalice,x,$20/day\n") == [{"name": "alice", "note": "x", "limits": "$20/day"}]
    for broken in (b"\xff\xfe", b'{"a": sk-secret', b"a: [1", b"[" * 100_000):
        with pytest.raises(ValueError, match=r"this is|line") as caught:
            document(broken)
        assert "secret" not in str(caught.value)


def test_values_that_are_wrong_are_left_out() -> None:
    odd = json.loads(json.dumps(RELAY_SERVICE))
    odd["data"]["apiKeys"] = [
        {"name": None, "dailyCostLimit": "NaN", "expiresAt": "soon", "tags": "{", "concurrencyLimit": []}
    ]
    [one] = clients("claude-relay-service", odd).clients
    assert (one.name, limits(one), one.expires_at, one.tags) == ("client", [], None, ("{",))


def test_names_keep_their_letters() -> None:
    names = Names()
    wanted = ("Ann Müller", "ann müller", "rené@example.com", "张三", "")
    assert [names.new(name) for name in wanted] == [
        "Ann-Muller", "ann-muller-2", "rene@example.com", "client", "client-2",
    ]  # fmt: skip
