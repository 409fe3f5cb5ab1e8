"""Admin API and web panel: a process of its own, which acts as the commands do, by the database and by relay.yaml.

    __main__      what the relay and the command `panel` start: options, a lifeline, uvicorn
    app           the application of one process: routers, errors, headers
    first         the first sign-in
    common        what its rooms share: configuration, vault, clients, ledger; errors, pages of lists, languages
    security      who asks, what they may do; passwords, second factor, delays; which names and pages are let in
    api           /api: a module an area, with its pydantic models; errors are problem+json
    pages         pages drawn on the server; what they change goes through /api, from static/forms.js
    templates, static, locale

Handlers are plain functions, which Starlette calls in threads, for they wait for the disk; what streams is async. A page can be read
without JavaScript. It must not know mitmproxy: `proxy` starts this process and hears nothing of it but that it has ended.
"""
