"""The parts of `keys`.

    room       the configuration and the vault of one call, and all keys of both
    selecting  which keys a call means: ids, aliases, labels, --all with filters
    options    the options that several sub-commands share
    reading    keys from a file: lines, CSV, JSON
    looking, entering, changing, proving, resealing: the sub-commands
    asking     one real request with a key
    checking   many of them at once, and what each answer says
    showing    tables, JSON and CSV

No secret is printed anywhere here, nor read from a command line.
"""
