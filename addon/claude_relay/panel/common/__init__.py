"""What the rooms of the panel share.

    parts       what handlers work with: configuration, vault, clients, ledger, relays
    through_relay  the way to models, for what is sent from the panel
    problems    errors, in one shape
    said        what the code says in English, in the visitor's language
    versions    ETags; a POST that is sent twice
    jobs        what takes longer than somebody waits
    paging      lists in pages
    spans       spans of time, as pages and the API name them
    recent      what was worked out a moment ago
    relay_yaml  what the file says, without secrets; changed in place
    models      of pydantic
    texts       languages; numbers, money and times as people write them

It must not know routes, nor who asks.
"""
