"""The parts of `keys`.

    keyring    the configuration and the vault of one call, and all keys of both
    selecting  which keys a call means: ids, aliases, labels, --all with filters
    options    the options that several sub-commands share
    foreign    keys from a file of another gateway
    looking, entering, changing, choosing, proving, proxying, resealing: the sub-commands
    showing    tables, JSON and CSV

No secret is printed anywhere here, nor read from a command line.
"""
