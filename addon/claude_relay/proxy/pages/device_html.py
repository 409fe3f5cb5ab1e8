"""What a person sees who confirms a sign-in: a form, or how it went. No script, nothing loaded, nothing told but what was typed.

page(form("WDJB-MJHT"))                     the code as it came in the address, for the person to compare
page(form("WDJB-MJHT", "This is no …"))     once more
page(done("You are signed in as ann."))
"""

from __future__ import annotations

from html import escape

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Sign in – Claude Relay</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 3rem auto; padding: 0 1rem; color-scheme: light dark }}
label {{ display: block; margin: 1rem 0 .25rem }} button {{ font: inherit; padding: .4rem 1.2rem; margin: 1.2rem .5rem 0 0 }}
input {{ font: 1.1em ui-monospace, monospace; width: 100%; box-sizing: border-box; padding: .5rem }}
[role=alert] {{ border-left: .3rem solid #c33; padding: .5rem 1rem; background: #c331 }} small {{ opacity: .8 }}
</style>
<main>
<h1>Sign in to this relay</h1>
{content}
</main>
</html>
"""
FORM = """\
{problem}<p>Claude Code shows a code and waits. Confirm it only if it is the same as here, and if it is you who typed
<code>/login</code> just now: whoever waits will work in your name.</p>
<form method="post" action="/device" autocomplete="off">
<label for="code">Code</label>
<input id="code" name="user_code" value="{code}" required maxlength="64" autocapitalize="characters" spellcheck="false">
<label for="key">Your client key of this relay</label>
<input id="key" name="key" type="password" required maxlength="200" placeholder="rk-…" autocomplete="current-password">
<small>It stays with this relay; Claude Code gets a token of its own, which ends when you sign out.</small><br>
<button name="action" value="approve">Confirm</button><button name="action" value="deny">It was not me</button>
</form>
"""


def page(content: str) -> bytes:
    """The whole page."""
    return PAGE.format(content=content).encode()


def form(code: str, problem: str = "") -> str:
    """Code, key, and two buttons. `problem`: why it is shown once more."""
    alert = f'<p role="alert">{escape(problem)}</p>\n' if problem else ""
    return FORM.format(code=escape(code, quote=True), problem=alert)


def done(text: str) -> str:
    """How it went."""
    return f'<p role="status">{escape(text)}</p>\n'
