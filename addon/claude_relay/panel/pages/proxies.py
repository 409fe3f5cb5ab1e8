"""/proxies: the ways out: outbound proxies with a name, those that have none, and what went through each in the last day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, NamedTuple

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.core.config import way_out
from claude_relay.core.config.proxies import DEFAULT_PORTS
from claude_relay.panel.api import proxies as api
from claude_relay.panel.api.proxy_models import PassageOut, ProxyOut
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.relay_yaml import current, usable
from claude_relay.store.ledger.proxy_sums import Passage
from claude_relay.store.shared.all_proxies import AllProxies

from .shell import N_, PageReader, pages, render

router = pages()
Word = Annotated[str, Query(max_length=40)]


class Other(NamedTuple):
    """A way out without a name. `origin`: in which words it is said where it stands; `known`: somebody can go there at all."""

    address: str
    origin: str
    users: list[str]
    passed: PassageOut
    known: bool = True


@router.get("/proxies")
def proxies(request: Request, visitor: PageReader, parts: Own, edit: Word = "", source: Word = "vault") -> Response:
    """The page. `edit`, `source`: the one that the dialog is about."""
    file, known, figures = current(parts), api.known(parts), api.passages(parts)
    every = known.every()
    rows = [api.shown(parts, one, figures) for one in every]
    edited = next((one for one in every if (one.name, one.source) == (edit, source)), None)
    return render(
        request,
        visitor,
        "proxies.html",
        title=N_("Ways out"),
        file=file,
        rows=rows,
        tags={(one.name, one.source): api.version(parts, one) for one in every},
        others=list(others(parts, known, figures)),
        direct=api.passage(figures.get(api.DIRECT, api.NOTHING)),
        edited=edited,
        definition=(file.data.get("proxies") or {}).get(edit) or {} if edited and edited.source != "vault" else {},
        warnings=way_out(usable(parts), parts.environ).warnings,
        schemes=list(DEFAULT_PORTS),
        state=state,
        row_of=api.row_of,
    )


def state(one: ProxyOut) -> str:
    """Which of its states is shown: the last test, unless something failed since; else what the ledger says."""
    if one.shadowed:
        return "shadowed"
    failed = one.last_day.failed_at
    if one.tested is not None and (failed is None or api.seconds(failed) < one.tested.at):
        return "reached" if one.tested.ok else "unreachable"
    if failed is not None:
        return "failed"
    return "used" if one.last_day.requests else "idle"


def others(parts: Parts, known: AllProxies, figures: Mapping[str, Passage]) -> Iterator[Other]:
    """Those of the environment, those that providers and keys have by their URL, and names that are none."""
    config = usable(parts)
    found: dict[str, tuple[str, list[str], bool]] = {}
    for proxy in way_out(config, parts.environ).proxies:
        found[str(proxy)] = (proxy.variable, [], True)
    for name, provider in config.providers.items():
        if provider.proxy is not None and provider.proxy.host and not provider.proxy.name:
            found.setdefault(str(provider.proxy), ("", [], True))[1].append(name)
    for said, users in known.elsewhere().items():
        found.setdefault(said, ("", [], "://" in said))[1].extend(users)
    for address, (variable, users, there) in found.items():
        yield Other(address, variable, users, api.passage(figures.get(address, api.NOTHING)), there)
