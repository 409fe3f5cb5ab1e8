"""One request for a bug report: what of it can be told to others.

capsule   all of it as one document (FORMAT is its version), and what of a document can be replayed
settings  relay.yaml without secrets

It must not know the database, files, or how a capsule is replayed.
"""
