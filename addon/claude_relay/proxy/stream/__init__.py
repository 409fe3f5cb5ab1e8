"""One stream: a request and its answer, through as many attempts as it takes.

layer        the HTTP layer that owns such streams, with its connections and alarms
receiving    the request on its way in
replay       its attempts
answering    what of an accepted answer leaves, and the limits that watch over it
client_connections  the clients' connections and the requests on them, for the end

It must not know keys, verdicts or money: the hooks of `flow` decide.
"""
