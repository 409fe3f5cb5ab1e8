"""The parts of `keys`.

    keyring    the configuration and the vault of one call, and all keys of both
    selecting  which keys a call means: ids, aliases, labels, --all with filters
    options    the options that several sub-commands share
    reading    keys from a file: lines, CSV, JSON; foreign: from those of another gateway
    looking, entering, changing, proving, resealing: the sub-commands
    checking   one real request with each of many keys at once, and what each answer says
    showing    tables, JSON and CSV

No secret is printed anywhere here, nor read from a command line.
"""
