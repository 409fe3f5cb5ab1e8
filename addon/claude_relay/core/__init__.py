"""The pure floor: values in, values out.

Nothing here imports mitmproxy, opens a file, reads a clock or draws a random number; clock and randomness are arguments.

exchange    the nouns of one request; errors: those that a client may see
endpoints   what a path is, and whose credential may leave with it
visitors    who asks, by which name, and whether for some web page; addresses: IP addresses, however they are written
estimate    the tokens of a request by its size; spans: where the members of a large JSON object are
steady      a clock that never goes back; times: points in time as text
notices     what an operator should hear of
secrets     finds secrets in whatever form they are repeated; terminal: text of others, harmless for a terminal

config      relay.yaml
bodies      what bodies and streams say, as they pass
formats     other providers' formats, and the way there and back
routing     which providers a request may go to
accounting  what was used, what it cost, what may be spent
keys        the keys of a provider: who is ready, who has a cooldown, who sits where
retry       what an outcome means, and what follows from it
"""
