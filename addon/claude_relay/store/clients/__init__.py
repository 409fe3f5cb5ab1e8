"""Clients, in the database.

book       what administrators do: add, edit, rotate, stop …; each act with its line in the audit log
approvals  sign-ins that an administrator says yes or no to
sign_ins   device codes and tokens of people who sign in
spent      what a client has spent, by the ledger; consumption: what clients used
limit_use  how far limits are used
descriptions  what may be said of clients and groups, as documents
managed_settings  files that groups may name
internal   the panel's own client
rows       rows as values: the directory that relays go by, and what may be told of a client

It must not know who asks, nor what a request is.
"""
