"""The keys of a provider: who is ready, who rests, who sits where.

pool        the keys together: which may be used now, and what an answer does to them
strategies  how one of the ready ones is picked; readiness: who they are, kept until something changes
rests, rest who rests, why and until when; limits: what headers say of it; blame: when a key pays for failures of the route
kinds       which limits and refusals concern a request
load, rooms what keys carry, and how much of their limits is left
sessions    which key a conversation sits at; seating: where one request of it sits down
naming      what keys of relay.yaml are called, for people and in stored rows
sharing     what relays over one database tell each other; states: how keys are, for people
"""
