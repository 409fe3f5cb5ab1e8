"""LiteLLM: what `/key/list?return_full_object=true` and `/team/list` answer, rows of its tables, and the model_list of its config.yaml.

    {"keys": [{"key_alias": "alice", "rpm_limit": 60, "max_budget": 20, "budget_duration": "1d", "models": ["claude-sonnet-5"], …}],
     "teams": [{"team_id": …, "team_alias": "team", "tpm_limit": 100000, …}]}

Keys are hashed in it. https://docs.litellm.ai/docs/proxy/virtual_keys. It must not know the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.permissions import Policy

from .found import Credential, Found, Names, NewClient, NewGroup, masked, only_once
from .loose import flag, limit, mapping, mappings, moment, number, period, text, texts

ANY_MODEL = {"all-team-models", "all-proxy-models", "*"}
NO_MODEL = "no-default-models"
VARIABLE = "os.environ/"
HOSTS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "openrouter": "https://openrouter.ai/api/v1",
    "deepseek": "https://api.deepseek.com",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "xai": "https://api.x.ai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "zai": "https://api.z.ai/api/paas/v4",
}
"""What stands before the slash of a model → where that is."""


def clients(document: object) -> Found:
    """Its virtual keys and teams. Raises ValueError when there are no keys in it."""
    outer = mapping(document)
    items = [*mappings(document), *mappings(outer.get("keys")), *mappings(outer.get("teams"))]
    keys = [item for item in items if "token" in item or "key_name" in item or "key_alias" in item]
    if not keys:
        raise ValueError(
            "there are no keys in it; write what /key/list?return_full_object=true answers into the file, and what /team/list "
            'answers beside it as "teams"'
        )
    groups, of_team = _groups([item for item in items if "team_alias" in item and item not in keys])
    names = Names()
    return Found(tuple(_client(key, names, of_team) for key in keys), groups)


def credentials(document: object, environ: Mapping[str, str]) -> Found:
    """The API keys of its model_list, each once. Raises ValueError when it has no model_list."""
    listed = list(mappings(mapping(document).get("model_list")))
    if not listed:
        raise ValueError("there is no `model_list` in it; give it LiteLLM's config.yaml")
    shared = {
        text(one.get("credential_name")): mapping(one.get("credential_values"))
        for one in mappings(mapping(document).get("credential_list"))
    }
    found: dict[tuple[str, str], Credential] = {}
    notes: list[str] = []
    for place, item in enumerate(listed, 1):
        given = mapping(item.get("litellm_params"))
        given = {**shared.get(text(given.get("litellm_credential_name")), {}), **given}
        secret = _value(given.get("api_key"), environ, notes)
        if not secret:
            continue
        url = _value(given.get("api_base"), environ, notes) or HOSTS.get(text(given.get("model")).partition("/")[0], "")
        known = found.get((secret, url))
        # A key of several models has limits for each of them, and none as a whole.
        fields = dict(_fields(item, given)) if known is None else {"label": known.fields.get("label", "")}
        found[secret, url] = Credential(known.where if known else f"model {place}", secret, url, fields)
    return Found(credentials=tuple(found.values()), notes=tuple(dict.fromkeys(notes)))


def _groups(teams: list[Mapping[str, Any]]) -> tuple[tuple[NewGroup, ...], dict[str, str]]:
    names = Names()
    groups: list[NewGroup] = []
    of_team: dict[str, str] = {}
    for team in teams:
        name = names.new(team.get("team_alias") or team.get("team_id"), "team")
        limits, notes = _limits(team)
        models = _models(team)
        of_team[text(team.get("team_id"))] = name
        enabled = not flag(team.get("blocked"))
        groups.append(NewGroup(name, Policy(models=models, limits=limits), enabled=enabled, notes=tuple(notes)))
    return tuple(groups), of_team


def _client(key: Mapping[str, Any], names: Names, of_team: Mapping[str, str]) -> NewClient:
    limits, notes = _limits(key)
    wanted = text(key.get("key_alias") or key.get("user_id"))
    name = names.new(wanted)
    team = text(key.get("team_id"))
    if team and team not in of_team:
        notes.append(f"its team {team}, which is not in the file")
    if routes := texts(key.get("allowed_routes")):
        notes.append(f"routes that it may use ({', '.join(routes)})")
    nothing = NO_MODEL in texts(key.get("models"))
    if nothing:
        notes.append("it may use no model, so it is disabled")
    return NewClient(
        name,
        group=of_team.get(team),
        note="" if name == wanted else wanted,
        tags=texts(mapping(key.get("metadata")).get("tags")),
        owner=text(key.get("user_id")),
        policy=Policy(models=_models(key), limits=limits),
        enabled=not flag(key.get("blocked")) and not nothing,
        expires_at=moment(key.get("expires")),
        was=masked(key.get("key_name") or key.get("token")),
        notes=tuple(notes),
    )


def _models(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Globs of models; LiteLLM's may have a provider before a slash."""
    models = texts(item.get("models"))
    if ANY_MODEL & {*models}:
        return ()
    return tuple(dict.fromkeys(one.partition("/")[2] or one for one in models if one != NO_MODEL))


def _limits(item: Mapping[str, Any]) -> tuple[tuple[Limit, ...], list[str]]:
    found: list[Limit] = [
        *limit("requests", item.get("rpm_limit"), "minute"),
        *limit("tokens", item.get("tpm_limit"), "minute"),
        *limit("concurrent", item.get("max_parallel_requests")),
    ]
    notes: list[str] = []
    budget = mapping(item.get("litellm_budget_table"))
    for one in (item, budget):
        if number(one.get("max_budget")) is not None:
            per, note = period(one.get("budget_duration"))
            found += limit("usd", one.get("max_budget"), per)
            notes += [note] if note else []
    for model, one in mapping(item.get("model_max_budget")).items():
        inner = mapping(one)
        per, note = period(inner.get("time_period") or inner.get("budget_duration"))
        found += limit("usd", inner.get("budget_limit") or inner.get("max_budget") or one, per, _glob(model))
        notes += [note] if note else []
    extra = mapping(item.get("metadata"))
    for model, amount in mapping(extra.get("model_rpm_limit") or item.get("model_rpm_limit")).items():
        found += limit("requests", amount, "minute", _glob(model))
    for model, amount in mapping(extra.get("model_tpm_limit") or item.get("model_tpm_limit")).items():
        found += limit("tokens", amount, "minute", _glob(model))
    return only_once(found), notes


def _glob(model: str) -> str:
    return text(model).partition("/")[2] or text(model)


def _value(value: object, environ: Mapping[str, str], notes: list[str]) -> str:
    """A value, or that of the variable which it names."""
    said = text(value, 5000)
    if not said.startswith(VARIABLE):
        return said
    name = said.removeprefix(VARIABLE)
    if not environ.get(name):
        notes.append(f"the variable {name} is not set here; set it as where LiteLLM runs")
    return environ.get(name, "")


def _fields(item: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "label", text(item.get("model_name"), 200)
    for name, theirs in (
        ("requests_per_minute", "rpm"),
        ("tokens_per_minute", "tpm"),
        ("concurrent", "max_parallel_requests"),
    ):
        if (amount := number(given.get(theirs))) is not None:
            yield name, int(amount)
    if (weight := number(given.get("weight"))) is not None:
        yield "weight", weight
