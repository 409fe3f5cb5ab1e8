"""The keys of a provider: who is ready, who has a cooldown, which session is bound to which key.

pool        the keys together: which may be used now, and what an answer does to them
shadow      the same for one request that met a fault, so that nobody else learns of it
selection   how one of the ready ones is picked; readiness: who they are, kept until something changes
cooldowns   which keys must not be used, why and until when (cooldown: one of them); outliers: when a key pays for failures of the route
kinds       which limits and refusals concern a request
load        what keys carry; headroom: how much of their limits is left
sessions    which key a conversation is bound to; affinity: with which one of its requests goes
own_credentials  of clients: which of them are of use, where they take part beside the pool
aliases     what keys of relay.yaml are called, for people and in stored rows
check_results  what a check of a key may find
replication what relays over one database tell each other; status: how keys are, for people

It must not know requests, verdicts' wordings or sockets.
"""
