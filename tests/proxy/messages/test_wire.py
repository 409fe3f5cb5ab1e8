"""A client's key is in no flow, also where nobody expects it."""

from __future__ import annotations

import pytest
from mitmproxy.test import tutils

from claude_relay.core.config.values import AUTHS
from claude_relay.proxy.messages.wire import CLIENT_ALIAS, Upstream, issue_key, mask_client, pass_through
from claude_relay.proxy.provider.redaction import own_secrets

KEY = b"sk-ant-api03-abcdefghijklmnop"


@pytest.mark.parametrize("name", [b"x-api-key", b"Authorization", b"x-qpi-key", b"anthropic_api_key", b"X-Custom"])
@pytest.mark.parametrize("before", [b"", b"Bearer ", b"key="])
def test_a_key_under_any_name(name: bytes, before: bytes) -> None:
    """It is hidden, goes on where the client's own goes on, and does not beside a key of the pool's."""
    fields = ((b"host", b"api.anthropic.com"), (name, before + KEY), (b"accept", b"*/*"))
    request = tutils.treq(headers=fields)
    signature, _ = mask_client(request)
    assert request.headers.fields == ((b"host", b"api.anthropic.com"), (name, CLIENT_ALIAS), (b"accept", b"*/*"))
    assert KEY in b"".join(secret for secret, _ in own_secrets(signature.fields))
    assert pass_through(request, signature).fields == fields
    upstream = Upstream("https", "api.anthropic.com", 443, "", AUTHS["x-api-key"])
    issued = issue_key(request, upstream, "k1", "the pool's")
    assert KEY not in b"".join(value for _, value in issued.fields)
