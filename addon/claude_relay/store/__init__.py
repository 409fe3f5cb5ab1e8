"""The floor that remembers: one SQLite file, written by one thread, read by anybody.

    database    opens the file, for writing (private, WAL) and for reading
    folders     made for this user alone; authority: the CA that clients trust, in mitmproxy's folder
    migrations  brings its tables up to date, whoever starts first
    writer      the thread that commits whatever queued up, keeps rows while the disk does not play along
    tables      requests and attempts as rows; sink: what the writers' sinks share
    ledger      what the proxy writes to: one row a request, one row an attempt
    journal     rows on the way through a file, while the database cannot be written
    reports     sums over them
    bodies      redacted bodies, where the configuration asks for them, by a writer of their own
    upkeep      what is old leaves, and the room goes back
    backup      a copy of one moment; export: rows for other programs; replacing: a file that takes another's place at once
    relays      a row for each running relay, for commands and panel
    aliases     the names of relay.yaml's keys
      aliasrows   as rows; fingerprints: how a key is known again; rekeying: what earlier versions stored
    vault       keys, sealed: what may be told of them, and `lend`, the one way by which they come out
      keys        what goes in and what is shown; keyrows, sealedrows: as rows; vaultfile, watch: the file, and its changes
      locking     which secret opens it; secret: where that is kept; sealing: how texts are sealed

It knows `core` and nothing above: no mitmproxy, no terminal.
"""
