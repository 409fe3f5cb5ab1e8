"""What was used, what it cost, what may be spent.

usage    counts while an answer passes (tokens: what its `usage` objects say; batches: the results of a batch)
pricing  what that cost
budgets  how much may be spent, and what happens then
metrics  counters of settled requests, for Prometheus
"""
