"""Why somebody is not served, in words: what is wrong, what to do about it, and whom to ask.

    raise denied(UNKNOWN, contact, at_proxy=False)      401; at the proxy 407, with the challenge

It must not know how it was found out.
"""

from __future__ import annotations

from claude_relay.core.errors import RelayError
from claude_relay.core.installation import command
from claude_relay.core.times import iso

from .credentials import PREFIXES, Kind
from .directory import Client, Stop

CHALLENGE = {"proxy-authenticate": 'Basic realm="Claude Relay"'}
"""What a proxy says beside a 407 (RFC 9110, section 11.7.1)."""
UNKNOWN = f"this client key is not known. Copy it again, or have a new one made (`{command('clients')} rotate NAME`)"
ENDED = "this sign-in has ended. Sign in again (/login)"
SEVERAL = "two client keys of different clients came with this request; send one"
NO_KEY = "no client key came with it, and the relay serves {} only with one"
HOW = {
    False: "Send it as x-api-key or as `Authorization: Bearer rk-…` (ANTHROPIC_AUTH_TOKEN).",
    True: "Put name and key into the proxy's address: HTTPS_PROXY=http://NAME:rk-…@HOST:PORT.",
}


def unknown(secret: str) -> str:
    """Nobody has this key or token."""
    return ENDED if secret.startswith(PREFIXES[Kind.ACCESS]) else UNKNOWN


def other_name(said: str) -> str:
    """Name and key at the proxy do not fit; whose key it is is nobody's business."""
    return f"this client key is not that of '{said[:64]}': the name before the colon must be the client's"


def missing(contact: str, *, local: bool, at_proxy: bool) -> RelayError:
    """There is no key, and one is needed."""
    who = "programs" if local else "programs on other machines"
    why = NO_KEY.format(who)
    return denied(f"{why}. {HOW[at_proxy]} `{command('clients')} add NAME` makes one", contact, at_proxy=at_proxy)


def denied(why: str, contact: str, *, at_proxy: bool) -> RelayError:
    """401, which no client sends again by itself; 407 where it is the proxy that is asked. `why`: a sentence without its full stop."""
    message = f"The relay does not serve this request: {why}.{referral(contact)}"
    headers = dict(CHALLENGE) if at_proxy else {}
    return RelayError(407 if at_proxy else 401, message, final=True, headers=headers)


def stopped(client: Client, stop: Stop, contact: str) -> RelayError:
    """403, for what runs of a client that is told to stop, and for what would begin before the stop is over."""
    of = f" in the session {stop.session}" if stop.session is not None else ""
    why = f"The client '{client.name}' was stopped{of}: nothing of it begins before {iso(stop.until)}."
    return RelayError(403, why + referral(contact), final=True)


def unread(why: str) -> RelayError:
    """It is not known who the clients are."""
    message = (
        f"The relay cannot read its clients ({why}), so it cannot tell whose key this is. Send the request again in a moment; "
        f"`{command('doctor')}` says what is wrong with the database."
    )
    return RelayError(503, message, retry_after=5.0)


def referral(contact: str) -> str:
    """Whom to ask, as the end of a message; empty when nobody is named."""
    return f" Ask {contact}." if contact else ""
