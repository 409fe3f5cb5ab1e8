"""The hooks of one request, and what they call, in the order in which it happens.

hooks        requestheaders, request, relay_attempt, responseheaders, relay_settle, response, error
claiming     its head has come: whose it is, and what is known of it
aiming       a request that says itself where it goes, or that it is a recorded one
deciding     which way it goes, and what becomes of it after each attempt
models_page  /v1/models: whose answer it is, and the relay's own
rights       what its client may do: endpoints, models, targets, keys
admitting    the limits of its client: let through, made to wait, refused
reserving    what it may cost, reserved under the budgets while it runs
pointing     the request of one attempt: where to, in whose words, with whose key
settle       the end: pool, headers, the line that people see, the ledger
own_limits   what an answer says of rate limits to a named client
parts        what all requests of a relay share
"""
