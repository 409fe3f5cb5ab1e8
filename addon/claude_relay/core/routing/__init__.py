"""Which providers a request may go to.

routes     the rules of relay.yaml, and their targets
story      why a request goes where it goes, in words
reach      all that a client can get to
catalogue  the models that this gives

It must not know keys, budgets or what an attempt meets.
"""
