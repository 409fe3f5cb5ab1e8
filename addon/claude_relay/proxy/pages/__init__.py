"""The relay's own pages at its base URL: never given a key of the pool, never sent upstream.

dispatch   which page is answered by what; what is off, and which methods a page has
page_parts  what a page gets, and the forms of its answer
callers    who wants a page
sign_in    where people sign in: metadata, device codes, tokens, revocation
device     the page in which a person confirms a code
device_html    what it looks like
authority  the certificate of the CA that clients of the proxy must trust
standing   what a client has spent and may spend, for Claude Code and as JSON
settings   managed settings of a group, from its file
settings_files  such files, read once
otlp       telemetry of clients: taken
forwarding  on its way to a collector, where one is named

A page is `async (relayed, flow, parts) -> http.Response`; RelayError is an answer, too. It must not know routes, attempts or providers.
"""
