"""What the API says of itself: `/api/openapi.json`, from which /docs is drawn, and clients are made."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.problems import ProblemDetails, documented
from claude_relay.panel.security.visitors import COOKIE, CSRF, OPEN, Reader

router = area("documentation")
SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of the API: rk-api-…, made in the panel."},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": f"With changes: {CSRF}."},
}


@router.get("/openapi.json", responses=documented(), include_in_schema=False)
def openapi(visitor: Reader, request: Request) -> dict[str, Any]:
    """OpenAPI 3.1."""
    return described(request.app)


def described(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = found.setdefault("components", {})
        parts["securitySchemes"] = SCHEMES
        schemas = parts.setdefault("schemas", {})
        problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs", {}) | {"ProblemDetails": problem}
        schemas.pop("HTTPValidationError", None), schemas.pop("ValidationError", None)
        for path, item in found["paths"].items():
            for operation in item.values():
                if path not in OPEN:
                    operation["security"] = [{name: []} for name in SCHEMES]
        app.openapi_schema = found
    return app.openapi_schema
