"""The parts of `clients`.

    roster       the configuration, the clients and the actor of one call
    options      the options that several sub-commands share
    policies     permissions and limits from options, and as people read them
    displaying   tables, JSON and CSV
    adding, switching, viewing, grouping, moving: the sub-commands

A key is printed once, when it is made, and read from nowhere.
"""
