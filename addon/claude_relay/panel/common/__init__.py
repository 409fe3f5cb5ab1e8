"""What the rooms of the panel share.

    parts       what handlers work with: configuration, vault, clients, ledger, relays
    through_relay  the way to models, for what is sent from the panel
    problems    errors, in one shape
    versions    ETags; a POST that is sent twice
    jobs        what takes longer than somebody waits
    paging      lists in pages
    models      of pydantic
    texts       languages; numbers, money and times as people write them

It must not know routes, nor who asks.
"""
