"""What a person sees who confirms a sign-in: a form, or how it went. No script, one stylesheet, nothing told but what was typed.

form("WDJB-MJHT", contact="ops@example.com")                  the code as it came in the address, for the person to compare
form("WDJB-MJHT", problem="This is no …", wrong="key")        once more; the field that is wrong is marked, and has the focus
signed_in("ann"), denied()                                    how it went
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Final

STYLE: Final = files(__package__).joinpath("device.css").read_bytes()
STYLE_PATH: Final = "/device/style.css"
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
<title>{title} – Claude Relay</title>
<main>
<p class="place">Claude Relay</p>
<h1>{heading}</h1>
{content}</main>
</html>
"""
FORM = """\
<p class="lead">Claude Code shows a code and waits. Confirm it only if it is the same as here, and if it is you who typed
<code>/login</code> just now: whoever waits will work in your name.</p>
{problem}<form method="post" action="/device">
<label for="code">Code</label>
<input id="code" name="user_code" value="{code}" required maxlength="64" autocomplete="one-time-code"
 autocapitalize="characters" spellcheck="false"{at_code}>
<label for="key">Your client key of this relay</label>
<input id="key" name="key" type="password" required maxlength="200" placeholder="rk-…" autocomplete="current-password"
 aria-describedby="about-key"{at_key}>
<p class="hint" id="about-key">It stays with this relay; Claude Code gets a token of its own, which ends when you sign out.{contact}</p>
<div class="actions">
<button name="action" value="approve">Confirm</button>
<button name="action" value="deny">It was not me</button>
</div>
<p class="hint">If you did not expect this page, close it: nothing happens without your key.</p>
</form>
"""
HEADING: Final = "Sign in to this relay"
FOCUS: Final = " autofocus"
WRONG: Final = ' aria-invalid="true" aria-errormessage="problem"'


def form(code: str, *, contact: str = "", problem: str = "", wrong: str = "") -> bytes:
    """Code, key, and two buttons. `problem`: why it is shown once more; `wrong`: the field that it is about, `user_code` or `key`."""
    alert = f'<p class="outcome" role="alert" id="problem">{escape(problem)}</p>\n' if problem else ""
    first = "user_code" if not code or wrong == "user_code" else "key"
    at = {name: (FOCUS if first == name else "") + (WRONG if wrong == name else "") for name in ("user_code", "key")}
    content = FORM.format(
        code=escape(code, quote=True),
        problem=alert,
        at_code=at["user_code"],
        at_key=at["key"],
        contact=f" No key yet? Ask {escape(contact)}." if contact else "",
    )
    return _page(HEADING, content, title=f"Not confirmed: {HEADING}" if problem else HEADING)


def signed_in(name: str) -> bytes:
    """The code is confirmed."""
    text = f"You are signed in as <strong>{escape(name)}</strong>. Go back to Claude Code; this page can be closed."
    return _page("Signed in", f'<p class="outcome signed-in" role="status"><span>{text}</span></p>\n')


def denied() -> bytes:
    """It was not this person."""
    text = "Whoever waits under this code gets nothing. If it was not you who began it, nothing else need be done."
    return _page("Sign-in denied", f'<p class="outcome denied" role="status">{text}</p>\n')


def _page(heading: str, content: str, *, title: str = "") -> bytes:
    return PAGE.format(style=STYLE_PATH, title=title or heading, heading=heading, content=content).encode()
