"""The hooks of one request.

hooks        requestheaders, request, relay_attempt, responseheaders, relay_settle, response, error
pointing     the request of one attempt: where to, in whose words, with whose key
reserving    what it may cost, reserved under the budgets while it runs
models_page  /v1/models: whose answer it is, and the relay's own
settle       the end: pool, headers, the line that people see, the ledger
"""
