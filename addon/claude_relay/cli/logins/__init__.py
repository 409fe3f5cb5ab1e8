"""The parts of `accounts`.

    logins       the configuration and the accounts of one call; which of them are meant
    arguments    the options that several sub-commands share
    catching     the browser's answer, on a port of this machine
    consenting   a person's yes: in a browser, by a pasted code, on another device
    arriving, listing_them, exchanging, pausing: the sub-commands
    figures      tables and details

No token is printed anywhere here, nor read from a command line.
"""
