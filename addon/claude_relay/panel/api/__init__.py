"""/api: a module an area. docs/panel.md has its paths.

    routers()       all of them, for `app`

    areas           how the router of an area begins
    sign_in         login, logout, oneself
    profile         the second factor, sessions, tokens: one's own
    admins          who may use the panel
    documentation   what the API says of itself
    dashboard       figures at a glance
    events          what happens, as it happens
    requests        what was asked; one with its attempts; again
    sessions        conversations, with their agents
    usage           sums by any dimensions; cache misses
    reconciliation  the ledger beside providers' own reports; admin keys
    keys            keys of providers, one by one
    accounts        OAuth accounts; account_models: as the API says them
    logins          those that wait for a person's yes
    capacity        how long the windows of accounts last
    key_batches     many at once: import, switching, checks, maintenance
    key_checks      checks of many, as a job
    key_models      keys as the API says them
    key_figures     keys joined with what relays say of them, and what they were used for
    jobs            how far something is that goes on
    providers       providers of relay.yaml, presets
    provider_tests  one asks for its models with one of its keys
    pools           how many keys are ready
    proxies         outbound proxies with a name; proxy_models: as the API says them
    routes          routes, the default, models, which way a request would go
    budgets         budgets, prices
    settings        relay.yaml as a whole
    jobs            what goes on behind an answer
    client_models   what clients and groups look like
    clients         client keys; who signs in
    groups          groups of clients
    notices         what somebody should look at
    audit           who did what
    health          is all well?
    alive           /healthz
    playground      a conversation through the pool
    duels           recorded requests once more, and at several targets
    search          what the command palette finds

A module holds the pydantic models of its area and its routes; what it does stands in core, store and upstream, so that commands do it by
the same code. Every handler takes a visitor (`security.visitors`).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """`router` of every module here, in the order of names."""
    found = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return [module.router for module in found if hasattr(module, "router")]
