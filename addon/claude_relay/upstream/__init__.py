"""Requests of the relay's own: to providers, and to the webhook of notices.

queries      lists of models, and whether a key works
base_url     through a relay on this machine
checking     many keys, one request each
trying       outbound proxies: is there a way through them
report_endpoint  what a provider itself says was used
token_endpoint  tokens of accounts, for codes and refresh tokens
connection   the client: the way there, also through an outbound proxy, in a given time

Everything waits, and is for threads. It must not know mitmproxy, the database or which request it is for.
"""
