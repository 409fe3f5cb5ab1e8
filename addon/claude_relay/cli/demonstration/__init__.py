"""The parts of `scripts/demo`: a made-up Claude, the real relay in front of it, and somebody who asks.

    cast        the five keys and how the upstream treats each of them; the dozen requests
    claude      the made-up Claude (cli/fake) with these keys, and its server
    relaying    the real relay in a process of its own, with a temporary configuration and database
    client      a client: through the base URL, or through the proxy with TLS opened on the way
    presenter   what the terminal shows, read from answers and from the ledger

Nothing in here reaches another machine, and nothing of it stays.
"""
