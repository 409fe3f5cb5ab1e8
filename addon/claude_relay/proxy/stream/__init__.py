"""One stream: a request and its answer, through as many attempts as it takes.

layer        the HTTP layer that owns such streams, with its connections and alarms
receiving    the request on its way in; dispatching: an attempt on its way out
replay       its attempts; faulting: those that fail on purpose
answering    what of an accepted answer leaves, and the limits that watch over it
resending    recorded requests, sent again
client_connections  the clients' connections and the requests on them, for the end

It must not know keys, verdicts or money: the hooks of `flow` decide.
"""
