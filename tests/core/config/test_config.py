import json
import re
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.config import (
    Address,
    Auth,
    Bodies,
    Budget,
    Config,
    ConfigError,
    Log,
    Match,
    Notices,
    OutboundProxy,
    Price,
    Provider,
    default,
    lacks_variables,
    literals,
    needs_restart,
    parse,
    running,
)
from claude_relay.core.config.filling import presets
from claude_relay.core.config.listening import far, near, unencrypted
from claude_relay.core.config.locate import base, locate
from claude_relay.core.config.schema import text as schema_text

ROOT = Path(__file__).parents[3]
CHECKED = json.loads(files("claude_relay.core.data").joinpath("presets.json").read_text("utf-8"))["checked"]
SECRET = "sk-ant-very-secret"
HUGE = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


def config(text: str, **environ: str) -> Config:
    return parse(text, environ=environ)


def problems(text: str | bytes, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, environ=environ)
    return [str(problem) for problem in caught.value.problems]


# -- what an empty file means


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "listen:\nproviders:\nroutes:\nretry:\nledger:\n", "{}"])
def test_nothing_means_all_defaults(text: str) -> None:
    assert config(text) == default({})


def test_the_defaults() -> None:
    made = default({"ANTHROPIC_API_KEYS": " k-1, k-2,,k-1\nk-3"})
    provider = made.providers["anthropic"]
    assert (made.listen.proxy, made.listen.base_url) == (Address("127.0.0.1", 8080), Address("127.0.0.1", 8082))
    assert made.listen.cors == ()
    assert made.database == Path("relay.db")
    assert made.intercept.hosts == ("api.anthropic.com",)
    assert provider.base_url == "https://api.anthropic.com"
    assert provider.auth == Auth("header", "x-api-key")
    assert (provider.empty_pool, provider.strategy) == ("passthrough", "headroom")
    assert [(key.alias, key.secret, key.provider) for key in provider.key_list("anthropic")] == [
        ("k1", "k-1", "anthropic"),
        ("k2", "k-2", "anthropic"),
        ("k3", "k-3", "anthropic"),
    ]
    assert [(route.match, route.to) for route in made.routes] == [(Match(), ("anthropic",))]
    assert (made.retry.attempts, made.retry.max_wait, made.retry.first_byte, made.retry.idle) == (5, 30, 120, 300)
    assert (made.sessions.sticky, made.sessions.ttl, made.sessions.short_wait) == (True, 3600, 5)
    assert made.clients.required is False
    assert (made.ledger.durability, made.ledger.keep, made.ledger.bodies) == ("strict", 400 * 86400, None)
    assert (made.prices, made.budgets, made.notices, made.log) == ((), (), Notices(), Log())


def test_the_shipped_file_says_the_defaults() -> None:
    assert config((ROOT / "relay.yaml").read_text("utf-8")) == default({})


def test_the_schema_beside_it_is_up_to_date() -> None:
    assert (ROOT / "relay.schema.json").read_text("utf-8") == schema_text(), "scripts/relay --schema makes it anew"
    assert "$schema=relay.schema.json" in (ROOT / "relay.yaml").read_text("utf-8").splitlines()[0]


# -- the whole surface


def test_everything_that_can_be_said() -> None:
    made = config(
        """
        listen: {proxy: null, base_url: "[::1]:9000", panel: 127.0.0.1:0, cors: [http://localhost:3000]}
        database: /var/lib/relay.db
        intercept: {hosts: [API.example.com., 10.0.0.7]}
        providers:
          glm: &glm
            preset: zhipu
            keys: ["${GLM}", literal]
            models: {"claude-*": glm-4.6, "*": glm-air}
            proxy: http://user:p%40ss@proxy:3128
            strategy: least-busy
          other:
            <<: *glm
            preset: null
            base_url: HTTPS://Gate.example.com:8443/claude/
            auth: {header: X-Token, prefix: "Token "}
            empty_pool: passthrough
          router:
            preset: openrouter
            headers: {X-Title: my team, http-referer: "${SITE:-https://example.com}"}
            body: {provider: {sort: price}, transforms: []}
            options: {top_k: false, user_field: user}
          mine: {format: formats/../mine.py, base_url: http://localhost:9/v1}
        default: router/vendor/model
        routes:
          - match:
              {model: "claude-haiku-*", header: {X-Team: "r*"}, stream: true, tools: false, thinking: true,
               client: claude-*, min_input_tokens: "60000", background: true, subagent: false}
            to: [other, glm]
        retry: {attempts: "${TRIES:-7}", max_wait: 0, first_byte: 1500ms, idle: 2.5m}
        sessions: {sticky: false, ttl: 2h, short_wait: 0s}
        clients: {required: false}
        ledger: {durability: relaxed, keep: null, bodies: {keep: 2d, limit: 1MiB}}
        prices:
          - {model: glm-*, provider: glm, since: 2026-11-01, input: 0.6, output: "2.2", cache_read: 0}
          - {model: "*", input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, request: 0.01}
        budgets:
          - {per: day, usd: "${LIMIT:-50}"}
          - {provider: glm, model: glm-*, per: month, usd: 9.5, warn: 1, then: other}
          - {name: mine, model: "*", per: week, usd: 1, then: warn}
        notices:
          {webhook: "https://hooks.example.com/T1?a=b", secret: "${HOOK}", command: [notify-send, Claude Relay], at_most: 3}
        log: {json: true}
        """,
        GLM="a,b",
        HOOK="hush",
    )
    glm, other = made.providers["glm"], made.providers["other"]
    assert (made.listen.proxy, made.listen.base_url) == (None, Address("::1", 9000))
    assert made.listen.cors == ("http://localhost:3000",)
    assert made.database == Path("/var/lib/relay.db")
    assert made.intercept.hosts == ("api.example.com", "10.0.0.7")
    assert (glm.base_url, glm.auth) == (
        "https://open.bigmodel.cn/api/anthropic",
        Auth("header", "authorization", "Bearer "),
    )
    assert (other.base_url, other.auth) == ("https://gate.example.com:8443/claude", Auth("header", "x-token", "Token "))
    assert [key.secret for key in other.key_list("other")] == ["a", "b", "literal"]
    assert glm.models == {"claude-*": "glm-4.6", "*": "glm-air"}
    assert glm.proxy == OutboundProxy("http", "proxy", 3128, "user", "p@ss")
    assert glm.proxy.authorization == "Basic dXNlcjpwQHNz"
    assert made.routes[0].match == Match(
        model="claude-haiku-*",
        header={"x-team": "r*"},
        stream=True,
        tools=False,
        thinking=True,
        client="claude-*",
        min_input_tokens=60_000,
        background=True,
        subagent=False,
    )
    router, mine = made.providers["router"], made.providers["mine"]
    assert (router.format, router.native, glm.native) == ("openai-chat", False, True)
    assert router.headers == {"x-title": "my team", "http-referer": "https://example.com"}
    assert router.body == {"provider": {"sort": "price"}, "transforms": []}
    assert router.options == presets()["openrouter"]["options"] | {"top_k": False, "user_field": "user"}
    assert (mine.format, mine.auth) == ("mine.py", Auth("header", "authorization", "Bearer "))
    assert made.default == "router/vendor/model"
    assert made.routes[0].to == ("other", "glm")
    assert (made.retry.attempts, made.retry.max_wait, made.retry.first_byte, made.retry.idle) == (7, 0, 1.5, 150)
    assert (made.ledger.durability, made.ledger.keep) == ("relaxed", None)
    assert made.ledger.bodies == Bodies(keep=172800, limit=1 << 20)
    assert made.prices[0] == Price(
        model="glm-*", provider="glm", since=date(2026, 11, 1), input=0.6, output=2.2, cache_read=0
    )
    assert (made.prices[1].cache_read, made.prices[1].request) == (None, 0.01)
    assert [(rule.name, rule.usd, rule.warn, rule.then) for rule in made.budgets] == [
        ("total per day", 50, 0.8, "stop"),
        ("glm glm-* per month", 9.5, 1, "other"),
        ("mine", 1, 0.8, "warn"),
    ]
    assert made.notices.webhook is not None
    assert made.notices.webhook.get_secret_value() == "https://hooks.example.com/T1?a=b"
    assert made.notices.secret is not None
    assert made.notices.secret.get_secret_value() == "hush"
    assert (made.notices.command, made.notices.at_most) == (("notify-send", "Claude Relay"), 3)
    assert made.log.as_json is True


@pytest.mark.parametrize("name", presets())
def test_every_preset_needs_only_a_key_and_says_where_it_comes_from(name: str) -> None:
    preset = presets()[name]
    address = "" if preset["base_url"] else f", base_url: '{preset['example']}'"
    provider = config(f"providers: {{p: {{preset: {name}, keys: [k]{address}}}}}").providers["p"]
    assert (provider.format, provider.options) == (preset["format"], preset.get("options", {}))
    assert provider.models == preset.get("models", {})
    assert provider.base_url.startswith("http://localhost:" if preset.get("keyless") else "https://")
    assert [key.secret for key in provider.key_list("p")] == ["k"]
    assert preset["source"].startswith("https://")
    assert date.fromisoformat(preset["date"]) <= date.fromisoformat(CHECKED)


KEYLESS = [name for name, preset in presets().items() if preset.get("keyless")]


@pytest.mark.parametrize("name", KEYLESS)
@pytest.mark.parametrize("keys", ["", ", keys: ['${UNSET}']", ", keys: "])
def test_a_server_without_keys_is_lent_a_word_so_that_the_clients_own_stays_here(name: str, keys: str) -> None:
    provider = config(f"providers: {{p: {{preset: {name}{keys}}}}}").providers["p"]
    assert [key.secret for key in provider.key_list("p")] == ["none"]
    assert provider.empty_pool == "reject"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("openai-chat", "authorization"),
        ("openai-responses", "authorization"),
        ("gemini", "x-goog-api-key"),
        ("./own.py", "authorization"),
        ("anthropic", "x-api-key"),
    ],
)
def test_the_format_says_where_the_key_goes_unless_the_file_does(form: str, name: str) -> None:
    text = f"providers: {{p: {{format: {form}, base_url: 'http://h'}}, q: {{format: {form}, base_url: 'http://h', auth: api-key}}}}"
    made = config(text)
    assert (made.providers["p"].auth.name, made.providers["q"].auth.name) == (name, "api-key")


@pytest.mark.parametrize("form", ["openai-chat", "openai-responses", "gemini", "own.py"])
def test_a_claude_credential_never_goes_to_another_format(form: str) -> None:
    provider = f"format: {form}, base_url: 'http://localhost:9'"
    assert config(f"providers: {{p: {{{provider}}}}}").providers["p"].empty_pool == "reject"
    assert "must not go there" in problems(f"providers: {{p: {{{provider}, empty_pool: passthrough}}}}")[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("own.py", "/etc/relay/own.py"),
        ("./a/../own.py", "/etc/relay/own.py"),
        ("../own.py", "/etc/own.py"),
        ("/opt/own.py", "/opt/own.py"),
        ("~/own.py", "/home/me/own.py"),
    ],
)
def test_a_format_of_ones_own_lies_beside_the_file(path: str, expected: str) -> None:
    text = f"providers: {{p: {{format: {path}, base_url: http://h}}}}"
    made = parse(text, environ={"HOME": "/home/me"}, where="/etc/relay/relay.yaml")
    assert made.providers["p"].format == expected


@pytest.mark.parametrize(
    ("form", "url", "expected"),
    [
        ("openai-chat", "https://h/v1", None),
        ("openai-chat", "https://h/v1/chat/completions/", "must stop before '/chat/completions'"),
        ("openai-responses", "https://h/v1/responses", "must stop before '/responses'"),
        ("gemini", "https://h/v1beta", None),
        ("gemini", "https://h/v1beta/models", "must stop before '/models'"),
        ("anthropic", "https://h/v1/messages", "must stop before '/v1': the relay appends /v1/messages itself"),
        ("own.py", "https://h/v1/messages", None),
    ],
)
def test_a_base_url_is_what_the_providers_own_sdk_takes(form: str, url: str, expected: str | None) -> None:
    text = f"providers: {{p: {{format: {form}, base_url: '{url}'}}}}"
    if expected is None:
        assert config(text).providers["p"].base_url == url
    else:
        assert [problem.partition("base_url: ")[2][: len(expected)] for problem in problems(text)] == [expected]


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "x-auth-token", "proxy-authorization",
        "Host", "content-length", "content-type", "accept-encoding", "transfer-encoding", "x-relay-key", "a b", "'é'", "''",
    ],
)  # fmt: skip
def test_headers_that_nobody_may_set(name: str) -> None:
    assert len(problems(f"providers: {{p: {{preset: openai, headers: {{{name}: x}}}}}}")) == 1


@pytest.mark.parametrize(
    ("provider", "what"),
    [
        ("base_url: 'http://localhost:8082'", "base_url: is this relay's own address"),
        ("base_url: 'http://127.0.0.1:8080', format: gemini", "base_url: is this relay's own address"),
        ("base_url: 'http://h', proxy: 'http://[::1]:8080'", "proxy: is this relay's own address"),
        ("base_url: 'http://192.168.0.2:8082'", None),
        ("base_url: 'http://localhost:8084'", "base_url: is this relay's own address"),
        ("base_url: 'http://localhost:8085'", None),
    ],
)
def test_no_provider_is_this_relay(provider: str, what: str | None) -> None:
    text = f"providers: {{p: {{{provider}}}}}"
    if what is None:
        assert config(text).providers["p"]
    else:
        assert what in problems(text)[0]


def test_what_the_file_says_wins_over_the_preset() -> None:
    provider = config("providers: {p: {preset: zhipu, base_url: 'https://api.z.ai/api/anthropic'}}").providers["p"]
    assert (provider.base_url, provider.auth.prefix) == ("https://api.z.ai/api/anthropic", "Bearer ")


def test_a_key_with_nothing_behind_it_leaves_the_preset_alone() -> None:
    bare = config("providers: {p: {preset: mistral}}").providers["p"]
    assert config("providers: {p: {preset: mistral, models: , options: , headers: , body: }}").providers["p"] == bare
    assert bare.models
    assert not config("providers: {p: {preset: mistral, models: {}}}").providers["p"].models


def test_without_routes_all_providers_in_the_files_order() -> None:
    made = config("providers: {b: {preset: zhipu}, a: {preset: anthropic}}")
    assert made.routes[0].to == ("b", "a")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.anthropic.com", "passthrough"),
        ("http://127.0.0.1:9", "passthrough"),
        ("http://[::1]:9", "passthrough"),
        ("https://api.deepseek.com/anthropic", "reject"),
        ("https://api.anthropic.com.evil.example", "reject"),
    ],
)
def test_a_clients_credential_goes_by_default_only_where_it_was_meant_to(url: str, expected: str) -> None:
    assert (
        config(f"providers: {{p: {{base_url: '{url}', keys: ['${{UNSET}}']}}}}").providers["p"].empty_pool == expected
    )


def test_who_says_reject_gets_it_everywhere() -> None:
    for preset in ("anthropic", "zhipu"):
        text = f"providers: {{p: {{preset: {preset}, empty_pool: reject}}}}"
        assert config(text).providers["p"].empty_pool == "reject"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x-api-key", Auth("header", "x-api-key")),
        ("bearer", Auth("header", "authorization", "Bearer ")),
        ("api-key", Auth("header", "api-key")),
        ("x-goog-api-key", Auth("header", "x-goog-api-key")),
        ("{cookie: session}", Auth("cookie", "session")),
        ("{query: key}", Auth("query", "key")),
        ("{header: Authorization, prefix: 'Key '}", Auth("header", "authorization", "Key ")),
    ],
)
def test_places_of_a_key(text: str, expected: Auth) -> None:
    assert config(f"providers: {{p: {{base_url: http://h, auth: {text}}}}}").providers["p"].auth == expected


@pytest.mark.parametrize(
    "value", ['"one","two"', '"one,two"', "'one' 'two'", '"one", "two" ', "“one”,‘two’", "one,two", '"one,two']
)
def test_quotes_around_keys_are_none_of_theirs(value: str) -> None:
    """As files of variables have them, and some programs pass them on."""
    config = parse("", environ={"ANTHROPIC_API_KEYS": value})
    assert [key.secret for key in config.providers["anthropic"].key_list("anthropic")] == ["one", "two"]


@pytest.mark.parametrize("value", ['["one","two"]', 'on"e'])
def test_a_key_has_no_quotes_in_it(value: str) -> None:
    with pytest.raises(ConfigError, match="no quotes in it; write several as KEY,KEY") as caught:
        parse("", environ={"ANTHROPIC_API_KEYS": value})
    assert "one" not in str(caught.value)


def test_key_ids_come_from_the_secret_alone() -> None:
    one = default({"ANTHROPIC_API_KEYS": "a,b"}).providers["anthropic"].key_list("anthropic")
    two = default({"ANTHROPIC_API_KEYS": "b,c,a"}).providers["anthropic"].key_list("anthropic")
    assert {key.secret: key.id for key in one}.items() <= {key.secret: key.id for key in two}.items()
    assert all(re.fullmatch(r"[0-9a-f]{16}", key.id) for key in two)


# -- variables


def test_variables() -> None:
    made = config("database: '${D}/${E:-x}$${F}'", D="/d", E="")
    assert made.database == Path("/d/x${F}")


def test_an_unset_variable_is_no_key_and_elsewhere_a_mistake() -> None:
    assert config("providers: {p: {preset: zhipu, keys: ['${A}', '${B}']}}", B="").providers["p"].keys == ()
    assert problems("database: ${DB_FILE}") == [
        "relay.yaml:1: database: the environment variable DB_FILE is not set; set it, or write ${DB_FILE:-default}"
    ]
    assert "a variable is written ${NAME}" in problems("database: '${1}'")[0]
    assert "a variable is written ${NAME}" in problems("database: '${'")[0]


def test_the_database_lies_beside_the_file() -> None:
    assert parse("", environ={}, where="/etc/relay/relay.yaml").database == Path("/etc/relay/relay.db")
    assert parse("database: ../x.db", environ={}, folder=Path("/a/b")).database == Path("/a/b/../x.db")
    assert parse("database: ~/x.db", environ={"HOME": "/home/me"}).database == Path("/home/me/x.db")


def test_so_does_the_certificate_of_the_listeners() -> None:
    text = 'listen: {tls: {cert: "tls/${NAME}.pem", key: ~/key.pem}}'
    tls = parse(text, environ={"HOME": "/home/me", "NAME": "a"}, where="/etc/relay/relay.yaml").listen.tls
    assert tls is not None
    assert (tls.cert, tls.key) == (Path("/etc/relay/tls/a.pem"), Path("/home/me/key.pem"))
    assert config("listen: {tls: null}").listen.tls is None


# -- mistakes


def test_all_mistakes_at_once_with_line_path_and_remedy() -> None:
    assert problems(
        """listen:
  proxi: 127.0.0.1:1
  base_url: 8082
providers:
  anthropic:
    formt: anthropic
    base_url: https://api.anthropic.com/v1
  gemini: {format: gemeni, base_url: "https://g"}
  x: {}
  y: {preset: zipu, auth: outh, strategy: hedroom, empty_pool: rejekt, models: []}
routes:
  - to: [antropic, gemini, gemini]
    match: {clients: a, modl: b, stream: maybe}
  - match: {min_input_tokens: many}
default: antropic/x
retry: {attempts: 0, first_byte: 0, idle: soon}
clients: {required: perhaps, contact: [ops]}
ledger: {durability: strong}
wat: 1
"""
    ) == [
        "relay.yaml:2: listen.proxi: unknown key; did you mean 'proxy'?",
        "relay.yaml:3: listen.base_url: must be HOST:PORT such as 127.0.0.1:8080 or [::1]:8080 (ports end at 65535), "
        "or null to switch it off",
        "relay.yaml:6: providers.anthropic.formt: unknown key; did you mean 'format'?",
        "relay.yaml:7: providers.anthropic.base_url: must stop before '/v1': the relay appends /v1/messages itself",
        "relay.yaml:8: providers.gemini.format: unknown; did you mean 'gemini'?",
        f"relay.yaml:9: providers.x: base_url is missing; give it, or a preset ({', '.join(presets())})",
        "relay.yaml:10: providers.y.auth: unknown; did you mean 'oauth'?",
        "relay.yaml:10: providers.y.empty_pool: unknown; did you mean 'reject'?",
        "relay.yaml:10: providers.y.models: must be a mapping of names to values",
        "relay.yaml:10: providers.y.preset: unknown; did you mean 'zhipu'?",
        "relay.yaml:10: providers.y.strategy: unknown; did you mean 'headroom'?",
        "relay.yaml:12: routes[0].to[0]: no provider has this name; did you mean 'anthropic'?",
        "relay.yaml:12: routes[0].to[2]: stands in this list twice; keep one",
        "relay.yaml:13: routes[0].match.clients: unknown key; did you mean 'client'?",
        "relay.yaml:13: routes[0].match.modl: unknown key; did you mean 'model'?",
        "relay.yaml:13: routes[0].match.stream: must be true or false",
        "relay.yaml:14: routes[1].match.min_input_tokens: must be a whole number from 0 to 100000000",
        "relay.yaml:14: routes[1].to: is missing",
        "relay.yaml:15: default: no provider has this name; did you mean 'anthropic'?",
        "relay.yaml:16: retry.attempts: must be a whole number from 1 to 50",
        "relay.yaml:16: retry.first_byte: must be longer than 0",
        "relay.yaml:16: retry.idle: must be a length of time such as 500ms, 30s, 5m, 1h or 15d",
        "relay.yaml:17: clients.contact: must be one line of text, of at most 200 characters",
        "relay.yaml:17: clients.required: must be true or false",
        "relay.yaml:18: ledger.durability: unknown; known: strict, relaxed",
        "relay.yaml:19: wat: unknown key; known: listen, database, intercept, providers, proxies, upstream, "
        "default, routes, retry, shutdown, sessions, clients, limits, ledger, prices, budgets, notices, log, faults",
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nretry: {}\na: 2", 3, "stands here twice, first in line 1"),
        ("retry:\n  idle: 1s\n  idle: 2s", 3, "stands here twice, first in line 2"),
        ("retry:\n\tidle: 1s", 2, "a tab stands where YAML wants blanks"),
        ("- a\n- b", 1, "must be a mapping"),
        ("just text", 1, "must be a mapping"),
        ("a: 1\n---\nb: 2", 2, "more than one document"),
        ("retry: [1,\n", 2, "has no end; close it"),
        ("retry: {idle: 'x\n", 1, "a quote begins here"),
        ("retry: *nobody", 1, "no anchor above defines"),
        ("database: !!python/object:os.system x", 1, "of a kind that has no place here"),
        ("retry: !mine {idle: 1s}", 1, "carries a tag"),
        ("database: \x01", 1, "a character that YAML does not allow"),
        ("retry: {idle: .nan}", 1, "of a kind that has no place here"),
        ("? [a]\n: b", 1, "a key must be text"),
        ("<<: 5", 1, "takes a mapping"),
        ("retry: &r {<<: *r}", 1, "merges too much"),
        (HUGE, 1, "use fewer aliases"),
        ("[" * 30000, 1, "nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested too deeply"),
        ("#" * (1 << 20) + "#", None, "is this the right file?"),
        ("providers: 3", 1, "must be a mapping of names to values"),
        ("providers: {a: 3}", 1, "must be a mapping of keys to values"),
        ("routes: 5", 1, "must be a list"),
        ("routes: [{to: []}]", 1, "must not be empty"),
        ("routes: [{to: anthropic}]", 1, "must be a list"),
        ("listen: [a]", 1, "must be a mapping of keys to values"),
        ("listen: {proxy: null, base_url: null}", 1, "set one of them"),
        ("listen: {proxy: 127.0.0.1:99999}", 1, "ports end at 65535"),
        ("listen: {proxy: 127.0.0.1:8082}", 1, "share a port"),
        ("listen: {proxy: 0.0.0.0:8082}", 1, "share a port"),
        ("listen: {cors: ['*']}", 1, "list each origin"),
        ("listen: {cors: [https://a/b]}", 1, "must be an origin"),
        ("intercept: {hosts: []}", 1, "must not be empty"),
        ("intercept: {hosts: ['https://api.anthropic.com']}", 1, "must be a bare host name"),
        ("database: [a]", 1, "must be a file name"),
        ("providers: {'a b': {preset: zhipu}}", 1, "letters, digits"),
        ("providers: {p: {base_url: 'ftp://h'}}", 1, "must be a URL"),
        ("providers: {p: {base_url: 'https://h/?a=b'}}", 1, "must hold no '?'"),
        ("providers: {p: {base_url: 'https://h:99999'}}", 1, "must be a URL"),
        ("providers: {p: {preset: zhipu, proxy: 'socks4://h:1'}}", 1, "speaks version 5"),
        ("providers: {p: {preset: zhipu, proxy: 'http://h/x.pac'}}", 1, "PAC files are not read"),
        ("providers: {p: {preset: zhipu, proxy: office}}", 1, "no proxy has this name"),
        (
            "proxies: {office: {url: 'http://h'}}\nproviders: {p: {preset: zhipu, proxy: offce}}",
            2,
            "did you mean 'office'",
        ),
        ("proxies: {office: {url: other}}", 1, "must be a URL"),
        ("proxies: {direct: {url: 'http://h'}}", 1, "is not 'direct'"),
        ("proxies: {a: {url: 'socks5://h', ca: x.pem}}", 1, "only with an https:// proxy"),
        ("proxies: {a: {url: 'http://127.0.0.1:8080'}}", 1, "round in a circle"),
        ("providers: {p: {preset: zhipu, tls: {key: k.pem}}}", 1, "needs its certificate"),
        ("providers: {p: {preset: zhipu, proxy: 'http://h:1/x'}}", 1, "must end after the port"),
        ("providers: {p: {preset: zhipu, auth: {header: Host}}}", 1, "may carry a key"),
        ("providers: {p: {preset: zhipu, auth: {cookie: a, query: b}}}", 1, "must be x-api-key"),
        ("providers: {p: {preset: zhipu, keys: abc}}", 1, "must be a list"),
        ("providers: {p: {preset: zhipu, keys: [5]}}", 1, "must be text"),
        ("providers: {p: {preset: zhipu, keys: [schlüssel]}}", 1, "plain ASCII"),
        ("providers: {p: {preset: zhipu, keys: [sk-ant-placeholder-relay]}}", 1, "a placeholder is no key"),
        ("providers: {p: {preset: azure-openai}}", 1, "such as https://YOUR-RESOURCE.openai.azure.com/openai/v1"),
        ("providers: {p: {preset: openai, headers: [a]}}", 1, "header names to texts"),
        ("providers: {p: {preset: openai, headers: {x-a: 5}}}", 1, "plain text in one line"),
        ('providers: {p: {preset: openai, headers: {x-a: "b\\nc"}}}', 1, "plain text in one line"),
        ("providers: {p: {preset: openai, body: {stream: true}}}", 1, "to the relay"),
        ("providers: {p: {preset: openai, body: 5}}", 1, "must be a mapping of names to values"),
        ("providers: {p: {preset: openai, options: 5}}", 1, "must be a mapping of names to values"),
        ("providers: {p: {preset: zhipu, body: {a: 1}}}", 1, "pass unchanged"),
        ("providers: {p: {base_url: http://h, format: [a]}}", 1, "must be one of anthropic"),
        ("default: anthropic/", 1, "must be PROVIDER or PROVIDER/MODEL"),
        ("default: 5", 1, "must be text"),
        ("default: [anthropic]", 1, "must be text"),
        ("routes: [{match: {subagent: 5}, to: [anthropic]}]", 1, "true or false"),
        ("routes: [{match: {header: {x: 1}}, to: [anthropic]}]", 1, "header names to globs"),
        ("retry: {attempts: 1.5}", 1, "whole number"),
        ("retry: {attempts: true}", 1, "whole number"),
        ("retry: {idle: true}", 1, "length of time"),
        ("ledger: {bodies: {limit: 1GB}}", 1, "at most 64MiB"),
        ("ledger: {bodies: {limit: 0}}", 1, "must be a size"),
        ("ledger: {bodies: 5}", 1, "must be a mapping of keys to values"),
        ("ledger: {bodies: {limt: 5}}", 1, "did you mean 'limit'"),
        ("log: {jsn: true}", 1, "did you mean 'json'"),
        ("log: {as_json: true}", 1, "did you mean 'json'"),
        ("prices: {a: 1}", 1, "must be a list"),
        ("prices: [{model: a, input: 1}]", 1, "prices[0].output: is missing"),
        ("prices: [{model: a, input: -1, output: 1}]", 1, "must be a price in USD"),
        ("prices: [{model: a, input: 1, output: 1, since: 2026-02-30}]", 1, "must be a day such as"),
        ("prices: [{model: a, input: 1, output: 1, provider: antropic}]", 1, "did you mean 'anthropic'"),
        ("budgets: [{usd: 1}]", 1, "budgets[0].per: is missing"),
        ("budgets: [{per: dya, usd: 1}]", 1, "did you mean 'day'"),
        ("budgets: [{per: day, usd: 0}]", 1, "above 0"),
        ("budgets: [{per: day, usd: 1, warn: 80}]", 1, "from 0 to 1"),
        ("budgets: [{per: day, usd: 1, warn: true}]", 1, "from 0 to 1"),
        ("budgets: [{per: day, usd: 1, provider: antropic}]", 1, "did you mean 'anthropic'"),
        ("budgets: [{per: day, usd: 1, then: stp}]", 1, "did you mean 'stop'"),
        ("budgets: [{per: day, usd: 1, then: 5}]", 1, "a provider's name"),
        ("budgets: [{per: day, usd: 1, provider: anthropic, then: anthropic}]", 1, "leads back to the provider"),
        ("budgets:\n- {per: day, usd: 1}\n- {per: day, usd: 2}", 3, "is there twice"),
        ("budgets:\n- {per: day, usd: 1}\n- {per: week, usd: 2, name: total per day}", 3, "is there twice"),
        ("notices: {webhook: 'http://example.com/'}", 1, "must begin with https://"),
        ("notices: {webhook: 'https://u:p@h/'}", 1, "without user name"),
        ("notices: {webhook: 'https://h/ü'}", 1, "plain ASCII"),
        ("notices: {webhook: 5}", 1, "must be text"),
        ("notices: {webhook: 'https://h', secret: ''}", 1, "must not be empty"),
        ("notices: {webhook: 'https://h', secret: '${NOWHERE}'}", 1, "variable NOWHERE is not set"),
        ("notices: {secret: x}", 1, "give 'webhook' too"),
        ("notices: {command: notify-send hi}", 1, "must be a list of words"),
        ("notices: {command: []}", 1, "must be a list of words"),
        ("notices: {command: [a, 5]}", 1, "must be a list of words"),
        ("notices: {at_most: 0}", 1, "from 1 to 1000"),
        ("listen: {tls: {cert: a.pem}}", 1, "listen.tls.key: is missing"),
        ("listen: {tls: a.pem}", 1, "must be a mapping"),
        ("listen: {tls: {cert: 5, key: a.pem}}", 1, "listen.tls.cert"),
        ("listen: {tls: {cert: a.pem, key: a.pem, ca: a.pem}}", 1, "listen.tls.ca: unknown"),
    ],
)
def test_one_mistake(text: str, line: int | None, what: str) -> None:
    found = problems(text)
    assert len(found) == 1 or text.startswith(("a:", "[")), found
    assert found[0].startswith("relay.yaml: " if line is None else f"relay.yaml:{line}: ")
    assert what in found[0]


def test_bytes_that_are_no_text() -> None:
    assert problems(b"retry: {}\ndatabase: \xff") == ["relay.yaml:2: is not UTF-8 text; save the file as UTF-8"]
    assert parse(b"\xef\xbb\xbfretry: {attempts: 2}", environ={}).retry.attempts == 2


def test_an_error_for_clients_is_short_and_final() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("wat: 1", environ={})
    assert (caught.value.status, caught.value.final) == (503, True)
    assert "wat" not in caught.value.message


# -- secrets


@pytest.mark.parametrize(
    "where",
    [
        "providers: {p: {preset: zhipu, keys: [{S: 1}]}}",
        "providers: {p: {preset: zhipu, keys: S}}",
        "providers: {p: {preset: S}}",
        "providers: {p: {preset: zhipu, auth: S}}",
        "providers: {p: {preset: zhipu, strategy: S, empty_pool: S, format: S, models: S}}",
        "providers: {p: {preset: openai, headers: {S: 1}, body: S, options: S}}",
        "providers: {p: {preset: openai, headers: {x: S é}}}",
        "default: S",
        "providers: {p: {preset: zhipu, proxy: 'http://u:S@h:x'}}",
        "providers: {p: {preset: zhipu, proxy: 'socks4://u:S@h:1'}}",
        "proxies: {S: {url: 'socks4://u:S@h:1', ca: 1}, a.b: {url: S}}",
        "providers: {p: {base_url: 'https://u:S@h'}}",
        "providers: {p: {preset: zhipu, S: 1}}",
        "providers: {S: 1}",
        "routes: [{to: [S], match: {stream: S, header: S, S: 1}}]",
        "listen: {proxy: S, cors: [S]}",
        "retry: {idle: S, attempts: S}",
        "budgets: [{per: S, usd: S, warn: S, then: S, provider: S, name: [S]}]",
        "prices: [{model: [S], since: S, input: S, provider: S}]",
        "notices: {webhook: 'https://u:S@h/', secret: [S], command: S, at_most: S, S: 1}",
        "notices: {webhook: 'http://h/S'}",
        "ledger: {bodies: {keep: S, limit: S}}",
        "log: {json: S, S: S}",
        "S: 1\nS: 2",
        "database: {S: S}",
        "S",
        "a: *S",
        "a: !S x",
        "a: 'S",
    ],
)
def test_no_message_repeats_a_value(where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(where.replace("S", SECRET), environ={})
    assert "very-secret" not in str(caught.value) + repr(caught.value) + repr(caught.value.problems)
    assert caught.value.__cause__ is None


def test_no_repr_shows_a_secret() -> None:
    text = f"providers: {{p: {{preset: zhipu, keys: [{SECRET}], proxy: 'http://u:{SECRET}@h:1'}}}}"
    text += f"\nnotices: {{webhook: 'https://h/{SECRET}', secret: {SECRET}}}"
    made = config(text)
    everything = [
        repr(made),
        str(made),
        str(made.providers["p"].proxy),
        made.model_dump_json(),
        repr(made.model_dump()),
    ]
    everything.append(repr(made.providers["p"].key_list("p")))
    assert SECRET not in "".join(everything)
    assert made.providers["p"].key_list("p")[0].secret == SECRET


def test_literal_secrets_are_found_with_their_lines() -> None:
    text = "providers:\n  p:\n    preset: zhipu\n    keys:\n      - ${A}, ${B}\n      - abc\n      - '${A},abc'\n"
    text += "notices: {webhook: 'https://example.com/T0/B1', secret: hush, at_most: 5}\n"
    found = ((6, "p", "providers.p.keys[1]"), (7, "p", "providers.p.keys[2]"), (8, None, "notices.secret"))
    assert literals(text) == found
    assert literals("") == ()


# -- changes while running


def test_what_needs_a_restart() -> None:
    old = config("")
    new = config("listen: {proxy: 127.0.0.1:1, cors: [http://a]}\ndatabase: x.db\nretry: {attempts: 2}")
    assert needs_restart(old, new) == ("listen.proxy", "database")
    assert needs_restart(old, config("retry: {attempts: 2}\nlisten: {cors: [http://a]}")) == ()
    now = running(old, new)
    assert needs_restart(old, now) == ()
    assert (now.retry.attempts, now.listen.cors) == (2, ("http://a",))
    encrypted = config("listen: {tls: {cert: a, key: b}}")
    assert needs_restart(old, encrypted) == ("listen.tls",)
    assert running(old, encrypted).listen.tls is None


@pytest.mark.parametrize(
    ("listen", "address", "here", "elsewhere"),
    [
        ("", "127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("", "10.0.0.5:1", "http://10.0.0.5:1", "http://10.0.0.5:1"),
        ("tls: {cert: a, key: b}", "127.0.0.1:1", "http://127.0.0.1:1", "https://127.0.0.1:1"),
        ("tls: {cert: a, key: b}", "[::]:1", "http://[::1]:1", "https://[::]:1"),
        ("tls: {cert: a, key: b}", "10.0.0.5:1", "https://10.0.0.5:1", "https://10.0.0.5:1"),
        ("tls: {cert: a, key: b}, hosts: [r.example]", "0.0.0.0:1", "http://127.0.0.1:1", "https://r.example:1"),
        ("tls: {cert: a, key: b}, hosts: [r.example]", "10.0.0.5:1", "https://r.example:1", "https://r.example:1"),
        ("hosts: ['2001:db8::1']", "0.0.0.0:1", "http://127.0.0.1:1", "http://[2001:db8::1]:1"),
    ],
)
def test_urls_of_listeners(listen: str, address: str, here: str, elsewhere: str) -> None:
    """On this machine nobody needs TLS, and hardly a certificate is for 127.0.0.1."""
    found = config(f"listen: {{{listen}}}").listen
    assert near(found, Address.parse(address)) == here
    assert far(found, Address.parse(address)) == elsewhere


@pytest.mark.parametrize(
    ("listen", "names"),
    [
        ("", []),
        ("proxy: 0.0.0.0:1, status: 0.0.0.0:2", ["proxy"]),
        ("proxy: 10.0.0.5:1, base_url: '[::]:2', panel: relay.lan:3", ["proxy", "base_url", "panel"]),
        ("proxy: null, base_url: localhost:2, panel: '[::1]:3'", []),
        ("proxy: 0.0.0.0:1, tls: {cert: a, key: b}", []),
    ],
)
def test_listeners_without_tls(listen: str, names: list[str]) -> None:
    assert [name for name, _ in unencrypted(config(f"listen: {{{listen}}}"))] == names


# -- where the file is


@pytest.mark.parametrize(
    ("explicit", "environ", "files", "expected"),
    [
        (None, {}, set(), None),
        (None, {}, {"/cwd/relay.yaml"}, None),
        (None, {}, {"/cwd/relay.yaml", "/root/relay.yaml"}, "/root/relay.yaml"),
        (None, {"HOME": "/home/me"}, {"/home/me/.config/claude-relay/relay.yaml"}, None),
        (None, {"RELAY_CONFIG": "x.yaml"}, {"/cwd/relay.yaml"}, "/cwd/x.yaml"),
        (None, {"RELAY_CONFIG": "./relay.yaml"}, {"/cwd/relay.yaml"}, "/cwd/relay.yaml"),
        (None, {"RELAY_CONFIG": ""}, {"/cwd/relay.yaml"}, None),
        ("/abs/y.yaml", {"RELAY_CONFIG": "x.yaml"}, set(), "/abs/y.yaml"),
        ("~/y.yaml", {"HOME": "/home/me"}, set(), "/home/me/y.yaml"),
    ],
)
def test_which_file_counts_in_a_checkout(
    explicit: str | None, environ: dict[str, str], files: set[str], expected: str | None
) -> None:
    found = locate(explicit, environ, Path("/cwd"), is_file=lambda path: str(path) in files, addon=Path("/root/addon"))
    assert found == (Path(expected) if expected else None)


MINE, PACKAGES = Path("/home/me/.config/claude-relay/relay.yaml"), Path("/venv/lib/python3.13/site-packages")


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({"HOME": "/home/me"}, MINE, MINE),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": ""}, MINE, MINE),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": ".config"}, MINE, MINE),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "/c"}, MINE, None),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "/c"}, Path("/c/claude-relay/relay.yaml"), ...),
        ({"HOME": "/home/me"}, Path("/cwd/relay.yaml"), None),
        ({"HOME": "/home/me"}, PACKAGES / "relay.yaml", None),
        ({"HOME": "/home/me"}, PACKAGES.parent / "relay.yaml", None),
        ({"HOME": "."}, Path(".config/claude-relay/relay.yaml"), None),
        ({"HOME": "/home/me", "RELAY_CONFIG": "x.yaml"}, MINE, Path("/cwd/x.yaml")),
    ],
)
def test_which_file_counts_where_the_package_is_installed(environ: dict[str, str], file: Path, expected: Path) -> None:
    found = locate(None, environ, Path("/cwd"), is_file=lambda path: path == file, addon=PACKAGES)
    assert found == (file if expected is ... else expected)


def test_where_the_database_is_when_nobody_says_so() -> None:
    home = {"HOME": "/home/me"}
    state = Path("/home/me/.local/state/claude-relay")
    assert base(None, home, addon=Path("/root/addon")) == Path("/root")
    assert base(None, home, addon=PACKAGES) == state
    assert base(None, home | {"XDG_STATE_HOME": "/s"}, addon=PACKAGES) == Path("/s/claude-relay")
    assert default(home, folder=base(None, home, addon=PACKAGES)).database == state / "relay.db"
    assert parse("", environ=home, folder=MINE.parent).database == state / "relay.db"
    assert parse("database: null", environ=home, folder=MINE.parent).database == state / "relay.db"
    assert parse("database: relay.db", environ=home, folder=MINE.parent).database == MINE.parent / "relay.db"
    assert parse("", environ=home, folder=Path("/elsewhere")).database == Path("/elsewhere/relay.db")


# -- a part of the file


def test_sections_by_themselves() -> None:
    text = "listen: {proxy: '127.0.0.1:${PORT}'}\nproviders: {p: {base_url: '${WHERE}'}}\ndatabase: x.db\nnotices: {secret: a}"
    found = parse(text, environ={"PORT": "7"}, only=("listen", "database"))
    assert (str(found.listen.proxy), found.database, list(found.providers)) == (
        "127.0.0.1:7",
        Path("x.db"),
        ["anthropic"],
    )
    with pytest.raises(ConfigError) as error:
        parse(text, environ={}, only=("listen", "database"))
    assert lacks_variables(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("providers: {p: {base_url: '${WHERE}', keys: ['${K}']}}\nnotices: {webhook: '${HOOK}'}", True),
        ("database: '${DB}'\nretry: {attempts: 0}", True),
        ("retry: {attempts: 0}", False),
        ("wat: 1", False),
    ],
)
def test_whether_variables_are_missing(text: str, expected: bool) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, environ={})
    assert lacks_variables(error.value) is expected


# -- anything at all


def read_or_complain(text: str) -> object:
    try:
        return parse(text, environ={})
    except ConfigError as error:
        return error.problems


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#,\n\t ${}<é1.~?"))
def test_any_text_gives_a_configuration_or_problems(text: str) -> None:
    assert read_or_complain(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [*Config.model_fields, *Provider.model_fields, *Budget.model_fields, "webhook", "to", "match", "anthropic", "hosts"]
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES)), max_size=4))
def test_any_values_give_a_configuration_or_problems(data: dict[str, object]) -> None:
    assert read_or_complain(json.dumps(data))


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_is_read_as_it_is_written(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert Address.parse(str(address)) == address
