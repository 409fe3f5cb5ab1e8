"""Requests of the relay's own to a provider, with nothing but the standard library.

asking       lists of models, and whether a key works; connection: the way there, also through an outbound proxy

It must not know mitmproxy, the database or which request it is for.
"""
