"""The pure floor: values in, values out.

Nothing here imports mitmproxy, opens a file, reads a clock or draws a random number; clock and randomness are arguments.

exchange    the nouns of one request; errors: those that a client may see
endpoints   what a path is, and whose credential may leave with it
visitors    who asks, by which name, and whether for some web page
routing     which providers a request goes to; reach: all that a client can get to; catalogue: the models that this gives
policy      which attempt is next and when to wait; trip: its way over providers and keys; endings: how it ends
verdicts    what an attempt's outcome means, by a table (table, data/verdicts.json); refusals: what is said when no attempt is left
estimate    the tokens of a request by its size; steady: a clock that never goes back
notices     what an operator should hear of
secrets     finds secrets in whatever form they are repeated (deltas: in texts that come in pieces); terminal: harmless for a terminal

reading     what bodies and streams say, as they pass
keys        the keys of a provider: who is ready, who rests, who sits where
accounting  what was used, what it cost, what may be spent
formats     other providers' formats, and the way there and back
config      relay.yaml
"""
