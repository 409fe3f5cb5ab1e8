"""The floor that remembers: one SQLite file, written by one thread, read by anybody.

    db         opens the file, brings its tables up to date, keeps it small, copies it
    ledger     what the proxy writes to: one row a request, one row an attempt; reports over them
    vault      keys, sealed: what may be told of them, and the one way by which they come out
    shared     what several relays on one database tell each other
    clients    who has a key of the relay's own
    panel      who may use the panel
    audit      who did what
    notices    what somebody should look at
    authority  the certificate authority that clients trust, in mitmproxy's folder
    tls_pair   the certificate that the listeners show
    config_file  relay.yaml, found and read

It knows `core` and nothing above: no mitmproxy, no terminal.
"""
