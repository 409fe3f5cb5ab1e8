"""The API against what it says of itself: made-up requests of every operation; every answer must be a documented one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks as every

from claude_relay.core.config import default
from claude_relay.panel.api.documentation import described
from claude_relay.panel.app import create
from claude_relay.panel.common.parts import Parts
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admins
from claude_relay.store.panel.api_tokens import Scope, Tokens
from waiting import PATIENCE

from .stage import PASSWORD, Panel

schema = schemathesis.openapi.from_dict(described(create(Parts(None, default({})))))
ENDING = ("/api/logout", "/api/me/sessions", "/api/events", "/api/openapi.json")
"""What ends sign-ins, or never ends."""
CHECKS = [
    every.not_a_server_error,
    every.status_code_conformance,
    every.content_type_conformance,
    every.response_schema_conformance,
]


@pytest.fixture(scope="module")
def token(panel: Panel) -> str:
    """Of an admin, for programs."""
    admin = Admins(panel.database).find("admin")
    assert admin is not None
    _, secret = Tokens(panel.database).add(Actor("test", "cli"), admin, "schema", Scope.ADMIN, None)
    return secret


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Whose connections are let go of at the end."""
    with requests.Session() as found:
        yield found


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_an_operation(case: schemathesis.Case, panel: Panel, token: str, session: requests.Session) -> None:
    if case.path in ENDING:
        return
    headers = {"Authorization": f"Bearer {token}", "Host": f"127.0.0.1:{panel.port}"}
    case.call_and_validate(base_url=panel.url, headers=headers, checks=CHECKS, timeout=PATIENCE, session=session)


def test_it_is_an_openapi_document(panel: Panel) -> None:
    document = panel.get("/api/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert PASSWORD not in str(document)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary") or operation.get("description"), (method, path)
            assert any(status.startswith("4") for status in operation["responses"]), (method, path)
