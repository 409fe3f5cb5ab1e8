"""Which providers a request may go to.

routes     the rules of relay.yaml, and their targets
reach      all that a client can get to
catalogue  the models that this gives

It must not know keys, budgets or what an attempt meets.
"""
