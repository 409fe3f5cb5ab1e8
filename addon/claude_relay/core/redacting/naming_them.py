"""Names of header fields, parameters and members of JSON: which values may be read by others.

Of header fields and parameters only those are shown that are known to hold no credential; whoever comes with another one, under whatever
name, has it redacted. Members of JSON are the other way round: they are too many, so those are redacted whose names say what they hold.
"""

from __future__ import annotations

import re
from typing import Final

SHOWN: Final = re.compile(
    r"accept(?:-[a-z-]+)?|access-control-(?!request-)[a-z-]+|age|allow|alt-svc|anthropic-(?:version|beta|fast-[a-z0-9-]+|ratelimit-[a-z0-9-]+|"
    r"priority-[a-z0-9-]+|dangerous-direct-browser-access)|cache-control|cf-cache-status|cf-ray|connection|content-[a-z-]+|date|etag|expect|"
    r"expires|host|keep-alive|last-modified|openai-(?:beta|version|processing-ms|model)|origin|proxy-status|request-id|retry-after(?:-ms)?|"
    r"server(?:-timing)?|strict-transport-security|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|x-app|"
    r"x-claude-code-(?!session)[a-z-]+|x-content-type-options|x-envoy-[a-z-]+|x-goog-api-client|x-powered-by|x-ratelimit-[a-z0-9-]+|"
    r"x-relay-(?:request|provider|key|attempts|model|notes|origin|target|subagent)|x-request-id|x-robots-tag|x-should-retry|x-stainless-[a-z-]+"
)
"""Header fields, in lower case."""
PARAMETERS: Final = re.compile(
    r"beta|alt|limit|before_id|after_id|page|page_size|pageSize|api-version|order|purpose|scope_id|stream|include"
)
"""Of a query."""
CREDENTIALS: Final = re.compile(
    r"(?:.*[_.-])?(?:api_?-?key|apikey|x-api-key|access_?key(?:_?id)?|secret(?:_?access)?(?:_?key)?|private_?key|signing_?key|"
    r"(?:access|refresh|id|auth|authorization|bearer|session|security|csrf|client|api|oauth|bot)_?token|token|"
    r"passw(?:or)?d|passphrase|pwd|credentials?|authorization|proxy-authorization|auth|cookies?|set-cookie|client_?secret|"
    r"session_?key|code_?verifier|signature_?key|x-goog-api-key|webhook)"
)
"""Members of JSON, in lower case."""
IDENTITIES: Final = re.compile(
    r"(?:account|organi[sz]ation|org|user|device|workspace|project|tenant|customer|subscription)_?-?(?:uu)?ids?|email(?:_?address)?|"
    r"(?:account|organization)_?uuid|installation_?id|machine_?id|safety_identifier|prompt_cache_key|userid|display_?name_of_user|phone_?number"
)
"""Members of JSON that name a person, a machine or an account."""
SECRETIVE: Final = frozenset({"user"})
"""The same, where their value is a text of its own: OpenAI's `user`."""
ALIAS: Final = re.compile(r"(?:[Bb]earer )?relay:[A-Za-z0-9._/-]{1,120}")
"""Where a flow of the relay's had a key."""
CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_shown(field: str) -> bool:
    """Whether a header field of that name, in lower case, may be shown."""
    return SHOWN.fullmatch(field) is not None


def is_alias(value: str) -> bool:
    """Whether it stands for a credential that the relay has taken out itself."""
    return ALIAS.fullmatch(value) is not None


def is_credential(member: str) -> bool:
    """Whether a member of that name holds a credential."""
    return len(member) < 100 and CREDENTIALS.fullmatch(_words(member)) is not None


def names_somebody(member: str) -> bool:
    """Whether a member of that name names a person, a machine or an account."""
    return len(member) < 100 and IDENTITIES.fullmatch(_words(member)) is not None


def _words(member: str) -> str:
    return CAMEL.sub("_", member).lower()
