"""The pure floor: values in, values out.

Nothing here imports mitmproxy, opens a file, reads a clock or draws a random number; clock and randomness are arguments.

exchange    the nouns of one request; errors: those that a client may see
endpoints   what a path is, and whose credential may leave with it
visitors    who asks, by which name, and whether for some web page; addresses: IP addresses, however they are written
estimate    the tokens of a request by its size; spans: where the members of a large JSON object are
steady      a clock that never goes back; times: points in time and lengths of time as text
notices     what an operator should hear of
faults      which attempt fails on purpose, and how; disturbance: what then becomes of an answer's bytes
socks5      the client's side of a SOCKS5 handshake; tls_alerts: what alerts of TLS mean
installation  a checkout or a package: how commands are called here
shells      how shells set variables
secrets     finds secrets in whatever form they are repeated; escapes: reads characters however they are written; printable: text of others,
            harmless for a terminal

config      relay.yaml
bodies      what bodies and streams say, as they pass
formats     other providers' formats, and the way there and back
routing     which providers a request may go to
accounting  what was used, what it cost, what may be spent
clients     who has a key of the relay's own, what they may do, and their limits
keys        the keys of a provider: who is ready, who has a cooldown, which session is bound to which key
retry       what an outcome means, and what follows from it
"""
