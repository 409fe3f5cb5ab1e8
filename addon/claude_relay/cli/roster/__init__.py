"""The parts of `clients`.

    roster       the configuration, the clients and the actor of one call
    options      the options that several sub-commands share
    policies     permissions and limits from options, and as people read them
    consumption  what clients used, from the ledger
    displaying   tables, JSON and CSV
    setup        what a client's person needs: lines for a shell, settings, a test request
    adding, switching, viewing, grouping, moving: the sub-commands

A key is printed once, when it is made, and read from nowhere.
"""
