"""Sentences that the code says in English, in the visitor's language: why something was refused, what a notice tells, and the like.

    shown("There is no client 'bob'.", words)            '没有客户端“bob”。'
    shown("What nobody has translated.", words)          as it is

The floors below know no languages; what they say is recognised here by its form, and names and numbers are filled in again. Programs that
ask for no language get English.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from .texts import N_, Words

OURS: Final = (
    N_("Sign in, or send a token."),
    N_("This token is unknown or over; make another one in the panel."),
    N_("This change did not come from a page of the panel. Load the page again."),
    N_("This needs the role %(role)s, or a token with that scope."),
    N_("This needs a token with the scope admin, or a sign-in with a password."),
    N_("The password is wrong."),
    N_("Codes cannot be checked, for the vault's secret is missing. Take a recovery code, or run: %(command)s"),
    N_("Too many tries that were wrong. Try again in %(seconds)s s."),
    N_("A password has at least %(least)s characters; a few words in a row are easy to remember."),
    N_("A password has at most %(most)s characters."),
    N_("The Host names another machine. Use localhost or the address, or add the name to listen.hosts in relay.yaml."),
    N_("The Content-Length is no number."),
    N_("A request has at most %(most)s MiB."),
    N_("A page of %(origin)s sent this; only the panel's own may."),
    N_("This form is too large."),
    N_("This is no form that could be read."),
    N_("What was sent cannot be used."),
    N_("What was sent cannot be used: %(fields)s."),
    N_("There is nothing at this address."),
    N_("A parameter of the address is unknown; there are %(names)s."),
    N_("A parameter of the address is unknown; there are none here."),
    N_("There is no database yet: no relay has run here."),
    N_("The database cannot be used; the log of the panel says why."),
    N_("The panel has a fault; its log says more."),
    N_("Somebody has changed it since you looked. Load it again, then make your change."),
    N_("Somebody has changed relay.yaml meanwhile. Load it again."),
    N_("`after` is none that a page has given as `next`."),
    N_("%(field)s: It is neither a length of time (24h, 7d) nor a date (2026-11-01, 2026-11-01T08:00)."),
    N_("It is neither a length of time (24h, 7d) nor a date (2026-11-01, 2026-11-01T08:00)."),
    N_("since has to be before until, by ten years at most."),
    N_("span is one of %(names)s; for another one give since and until."),
    N_("This time is outside of the calendar."),
    N_("%(count)s jobs are under way already; try again when some are done."),
    N_("There is no such job of yours: it is over for long, or the panel began anew."),
    N_("%(count)s pages listen already; close some, and try again."),
    N_("No relay with a base URL runs here. Start it, or set listen.base_url in relay.yaml."),
    N_("The relay did not answer (%(error)s). Try again."),
    N_("%(count)s answers are under way already; wait for one to end."),
    N_("relay.yaml cannot be used as it is."),
    N_("relay.yaml cannot be used as it is; mend it on the page Settings first."),
    N_("%(file)s is not UTF-8 text; save the file as UTF-8."),
    N_("This version is none that the panel has made since it began."),
    N_("A key does not belong into relay.yaml: add it on the page Keys, or name a variable such as ${MY_KEYS}."),
    N_(
        "%(place)s stands in relay.yaml in a way that cannot be changed from here, such as by an anchor that other places use; "
        "change the text itself."
    ),
    N_("There is no budget %(name)s in relay.yaml."),
    N_("There is no proxy %(name)s."),
    N_("There is a proxy of the name %(name)s already."),
    N_("%(name)s is the way out of %(users)s; give them another one first."),
    N_("Somebody has changed the proxy %(name)s in the file; give it its URL again."),
    N_("the proxy cannot be reached: %(why)s"),
    N_("the proxy refused the user or the password"),
    N_("the proxy answered %(status)s"),
    N_("no answer in time"),
    N_("no such host"),
    N_("no proxy is there"),
    N_("put both into the proxy's URL: scheme://user:password@host:port"),
    N_("put a user and a password that it knows into the proxy's URL"),
    N_("check its URL and this machine's network"),
    N_("have the proxy's owner allow this host"),
    N_(
        "A password does not belong into relay.yaml: keep the proxy in the vault, or name a variable such as ${PROXY_PASSWORD}."
    ),
    N_("There is no provider %(name)s in relay.yaml."),
    N_("There is a provider of the name %(name)s already."),
    N_("relay.yaml names no provider, so this one is implied; add another one first."),
    N_("%(name)s has no key that could be tried: add one on the page Keys."),
    N_("There is no provider '%(name)s'; there are %(names)s."),
    N_("There is no such key."),
    N_("There is no provider of this name."),
    N_("This key is there already, as %(name)s, which was removed; restore it."),
    N_("This key is there already, as %(name)s."),
    N_("It comes from relay.yaml; change it there, in the settings."),
    N_("Send text, or rows."),
    N_("Nothing was added: %(why)s."),
    N_("%(count)s of these keys are not there."),
    N_("There is no client '%(name)s'."),
    N_("There is no client '%(name)s'; do you mean '%(near)s'?"),
    N_("There is no group '%(name)s'."),
    N_("There is no group '%(name)s'; do you mean '%(near)s'?"),
    N_("The client '%(name)s' is removed; restore it first."),
    N_("The group '%(name)s' is removed; restore it first."),
    N_("The client '%(name)s' is removed."),
    N_("The client '%(name)s' is disabled; enable it first."),
    N_("The client '%(name)s' is not removed."),
    N_("The group '%(name)s' is not removed."),
    N_("The group '%(name)s' has clients (%(names)s): remove them, or give them another group, first."),
    N_("%(name)s is no name: 1 to 64 letters, digits and . _ @ + -, beginning with a letter or a digit."),
    N_("This begins as a key does, and everybody may read a name; choose another one."),
    N_("'%(name)s' is there already."),
    N_("'%(name)s' is there already, removed; restore it, or choose another name."),
    N_("'%(text)s' is no limit; write %(forms)s."),
    N_(
        "'60 requests/minute', '100k tokens/minute', '4 concurrent' or '$20/day' (5h, day, week, month, total), "
        "each also with 'per session', 'per agent' and 'model GLOB' behind it"
    ),
    N_("'%(text)s': a limit is above 0; to let a client do nothing, disable it."),
    N_("'%(text)s' is no address or network such as 10.0.0.5 or 10.0.0.0/24."),
    N_("'%(text)s' is over already; to let a client do nothing, disable it."),
    N_("'%(text)s' is no length of time above 0."),
    N_("'%(text)s' is too far away."),
    N_(
        "No sign-in waits with the code '%(code)s'; compare it, or let the person begin to sign in anew, which shows a new one."
    ),
    N_("The code %(code)s has expired; let the person begin to sign in anew, which shows a new one."),
    N_("The code %(code)s has been approved already; let the person begin to sign in anew, which shows a new one."),
    N_("The code %(code)s has been denied; let the person begin to sign in anew, which shows a new one."),
    N_("The code %(code)s has been used already; let the person begin to sign in anew, which shows a new one."),
    N_("There is no admin '%(name)s'."),
    N_("There is an admin '%(name)s' already; choose another name."),
    N_("A name has 1 to 64 letters, digits and . _ @ + -, and begins with a letter or a digit."),
    N_("'%(name)s' is the only one who may do everything; make somebody else admin first."),
    N_("'%(name)s' has no second factor."),
    N_("There is a second factor already; remove it first."),
    N_("There is no second factor."),
    N_("That was begun too long ago. Begin again: POST without a code."),
    N_("This code is wrong. Is the clock of your phone right?"),
    N_("A token has a name of 1 to 64 characters, by which it is known later."),
    N_("There is a token '%(name)s' already; choose another name, or remove that one."),
    N_("You have no token with this id."),
    N_("You have no session with this id."),
    N_("You are %(role)s, so a token of yours cannot have the scope %(scope)s."),
    N_("There is no such session."),
    N_("There is no such notice, or not any more."),
    N_("No request has the id %(id)s."),
    N_("Several ids begin so; give more of it."),
    N_("There is no request '%(id)s'."),
    N_("A duel takes two different targets."),
    N_("no route"),
    N_("all providers"),
    N_("route %(number)s"),
    N_("default %(target)s, then %(rule)s"),
    N_("none of its keys was free"),
    N_("another provider was asked"),
    N_("another key was used"),
    N_("another model was asked"),
    N_("its 5 minutes were over"),
    N_("its hour was over"),
    N_("no cache_control any more"),
    N_("%(count)s blocks without a mark"),
    N_("nothing known changed"),
    N_("%(cause)s changed"),
    N_("%(cause)s changed; all messages are lost with it"),
    N_("%(cause)s changed; all that follows it is lost with it"),
    N_("The key %(key)s is refused by the provider: %(reason)s"),
    N_("The key %(key)s was disabled by the provider: %(reason)s"),
    N_("The key %(key)s has no credit left: %(reason)s"),
    N_("The key %(key)s is refused by the provider."),
    N_("The key %(key)s was disabled by the provider."),
    N_("The key %(key)s has no credit left."),
    N_("The login %(key)s has ended; log in again: %(reason)s"),
    N_("The login %(key)s has ended; log in again."),
    N_("The login %(key)s %(when)s and cannot be renewed: %(reason)s"),
    N_("The login %(key)s %(when)s and cannot be renewed."),
    N_("ends in %(minutes)s min"),
    N_("ends now"),
    N_("Every key is out: %(reasons)s. Replace or mend them, then start the relay again."),
    N_("Every key is out: %(reasons)s. Log in again with accounts; replace or mend other keys."),
    N_("No key can take this request now: %(reasons)s. Try again in %(seconds)s s, or add keys."),
    N_(
        "No key for %(names)s: set ANTHROPIC_API_KEYS and start the relay again, add one under `keys` in relay.yaml, or log in with an "
        "account."
    ),
    N_("%(names)s overloaded after %(tries)s: %(reason)s. Try again in %(seconds)s s."),
    N_("Session %(session)s missed the prompt cache: %(why)s. %(tokens)s tokens anew for $%(usd)s more."),
    N_("Session %(session)s missed the prompt cache: %(why)s. %(tokens)s tokens anew."),
    N_("%(provider)s reports %(usd)s more than the ledger has for the last %(days)s days."),
    N_("%(provider)s reports %(usd)s less than the ledger has for the last %(days)s days."),
    N_("The usage report of %(provider)s cannot be fetched: %(reason)s"),
    N_("The report was fetched less than a day after the day's end; it may still grow."),
    N_("Keys that are not in this relay's pool used %(tokens)s tokens (%(share)s of the difference)."),
    N_("Clients' own credentials used %(tokens)s tokens through the relay (%(share)s of the difference)."),
    N_("OAuth accounts used %(tokens)s tokens through the relay (%(share)s of the difference)."),
    N_("%(number)s requests broke off; their %(tokens)s output tokens are estimated."),
    N_("%(tokens)s tokens are of batches, which the provider counts on the day they ran."),
    N_("$%(usd)s is of the priority tier, which the cost report leaves out."),
    N_("%(number)s requests have no price here; give one under prices, then run usage reprice."),
    N_("Tokens agree, prices do not: the provider's is %(factor)s times ours; update the relay, or set prices."),
    N_("%(tokens)s tokens did not pass this relay (%(share)s of the difference)."),
    N_("The provider reports nothing at all for this day: are the pool's keys of another organisation?"),
    N_("%(tokens)s tokens are not in the report: some keys may be of another organisation."),
    N_("Billed under a name that no usage has."),
    N_("There is no such admin key."),
    N_("There is no admin key of %(name)s; add one first."),
    N_(
        "Only Anthropic's and OpenAI's own APIs have a report of usage that is known here; this provider is another one."
    ),
    N_("This is no admin key: they begin with %(begin)s, and are made at %(address)s."),
    N_("An admin key has no blanks, line ends or other odd characters in it; copy it again."),
    N_("there is no admin key for it"),
    N_("another process is fetching it just now"),
    N_("the provider refuses the admin key (401): it is wrong, or was taken back; enter another one"),
    N_("the provider refuses the admin key (401): it is wrong, or was taken back; enter another one: %(why)s"),
    N_("the key may not read reports (403): it has to be an admin key of the organisation"),
    N_("the key may not read reports (403): it has to be an admin key of the organisation: %(why)s"),
    N_("there is no such report at the provider's address (404): the account has to be one of an organisation"),
    N_(
        "there is no such report at the provider's address (404): the account has to be one of an organisation: %(why)s"
    ),
    N_("the provider wants to be asked more slowly (429)"),
    N_("the provider gave no report: %(why)s"),
    N_("the provider gave no report (%(status)s)"),
    N_("the provider gave no report (%(status)s): %(why)s"),
    N_("the provider's report cannot be read: %(why)s"),
    N_("the admin key of %(name)s was entered for %(address)s, and relay.yaml has another address now: enter it again"),
    N_("the admin key of %(name)s cannot be opened any more: enter it again"),
    N_("The budget '%(name)s': $%(spent)s of $%(amount)s spent. %(then)s"),
    N_("The limit '%(limit)s' of %(whose)s is near: $%(spent)s spent. %(lasts)s"),
    N_("the client '%(name)s'"),
    N_("the group '%(name)s'"),
    N_("It has no end."),
    N_("It lasts %(until)s."),
    N_("Requests under it are refused %(until)s."),
    N_("Requests under it go to %(provider)s %(until)s."),
    N_("until %(end)s"),
    N_("Requests go on."),
    N_("listen.%(name)s is %(address)s, which only this machine reaches; for others set it to %(wide)s."),
    N_("The relay answers to the name %(name)s only if it is in listen.hosts; or name an address: --host 10.0.0.5."),
    N_("Without listen.tls the key crosses the network as plain text."),
)
"""Forms of what this project says; `%(name)s` stands for what differs."""
THEIRS: Final = (
    N_("Field required."),
    N_("Extra inputs are not permitted."),
    N_("Value error, %(why)s"),
    N_("Input should be a valid string."),
    N_("Input should be a valid integer."),
    N_("Input should be a valid number."),
    N_("Input should be a valid integer, unable to parse string as an integer."),
    N_("Input should be a valid number, unable to parse string as a number."),
    N_("Input should be a valid list."),
    N_("Input should be a valid dictionary."),
    N_("Input should be a valid boolean."),
    N_("Input should be greater than %(number)s."),
    N_("Input should be greater than or equal to %(number)s."),
    N_("Input should be less than %(number)s."),
    N_("Input should be less than or equal to %(number)s."),
    N_("Input should be %(names)s."),
    N_("String should have at least %(number)s character."),
    N_("String should have at least %(number)s characters."),
    N_("String should have at most %(number)s characters."),
    N_("String should match pattern %(pattern)s."),
    N_("List should have at least %(number)s item after validation, not %(found)s."),
    N_("List should have at most %(number)s items after validation, not %(found)s."),
)
"""Those of pydantic, each with a full stop."""


def shown(text: str, words: Words) -> str:
    """In the visitor's language, where it is one of these or of the catalogue; else as it came."""
    if words.language == "en" or not text:
        return text
    found = words.gettext(text)
    return found if found != text else _filled(text, words)


def _filled(text: str, words: Words) -> str:
    """As one of the forms; what is filled in may be one, too, but no text of a page: it may be a name."""
    for pattern, form in _forms():
        if match := pattern.fullmatch(text):
            parts = {name: _filled(part, words) for name, part in match.groupdict().items()}
            return words.gettext(form) % parts if parts else words.gettext(form)
    return text


@cache
def _forms() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What says most by itself first."""
    found = sorted((*OURS, *THEIRS), key=lambda form: -len(PLACE.sub("", form)))
    return tuple([(_pattern(form), form) for form in found])


def _pattern(form: str) -> re.Pattern[str]:
    parts = PLACE.split(form.removesuffix("."))
    text = "".join(f"(?P<{part}>.+?)" if n % 2 else re.escape(part) for n, part in enumerate(parts))
    return re.compile(text + r"\.?", re.DOTALL | re.IGNORECASE)


PLACE: Final = re.compile(r"%\((\w+)\)s")
