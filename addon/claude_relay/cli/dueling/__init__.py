"""`scripts/duel`: recorded requests at several targets.

inputs     requests from files, and from the bodies that the ledger keeps
serving    the relay that they go through: one that runs, or one that runs for as long as it takes
sending    one request through it, and its row in the ledger
comparison what came of it, as a table

It must not know how answers are compared.
"""
