"""The page that a person sees who opens one of the relay's addresses in a browser: what this is, and what to do instead.

It has no script, loads nothing, and tells no secret: where the relay listens, and the commands to type.
"""

from __future__ import annotations

from html import escape

from mitmproxy import http

from claude_relay.core.config import Config
from claude_relay.core.config.listening import far, near
from claude_relay.core.installation import command

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Claude Relay</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color-scheme: light dark }}
code, pre {{ font: .95em ui-monospace, monospace }} pre {{ padding: .75rem 1rem; background: #8882; overflow-x: auto }}
</style>
<h1>Claude Relay runs here</h1>
<p>This is {what}: an address for programs that use Claude, not a page for browsers.</p>
<p>In a terminal, run a program through it:</p>
<pre>{env} -- claude</pre>
<p>or set a program up by hand:</p>
<pre>{settings}</pre>
<p>To see every request in the browser, start the relay with <code>{relay} --web</code>.
What was used: <code>{usage}</code>. What is wrong, if anything: <code>{doctor}</code>.</p>
</html>
"""
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def welcome(config: Config, request_id: str, *, at_proxy: bool, local: bool = True) -> http.Response:
    """The page. `at_proxy`: it was opened at the proxy's port, else at the base URL. `local`: by somebody on this machine."""
    url = near if local else far
    settings = []
    if (base_url := config.listen.base_url) is not None:
        settings.append(f"ANTHROPIC_BASE_URL={url(config.listen, base_url)}")
    if (proxy := config.listen.proxy) is not None:
        settings.append(
            f"HTTPS_PROXY={url(config.listen, proxy)}\n# and let it trust the relay's CA, as {command('env')} prints"
        )
    text = PAGE.format(
        what="the relay's proxy" if at_proxy else "the relay's base URL",
        settings=escape("\n".join(settings)),
        **{name: escape(command(name)) for name in ("env", "relay", "usage", "doctor")},
    )
    return http.Response.make(200, text.encode(), HEADERS | {"request-id": request_id})
