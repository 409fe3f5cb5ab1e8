"""What was used, what it cost, what may be spent.

meter    counts while an answer passes (tokens: what its `usage` objects say; batches: the results of a batch)
estimates  what was not told, from what has passed (passed)
pricing  what that cost (price_lists: what prices there are; terms: at which terms it was served)
budgets  how much may be spent, and what happens then (accounts: one budget and its period)
reserve  what a request that runs may still cost, held under the budgets (needs: before its answer is known; holds: all of them)
cache_misses  why a turn missed the prompt cache, and how many tokens
usage_reports  what providers' own reports say (report_access: which of them have one, and whose key reads it); reconciling: what
              differs from the ledger, and why
capacity  how long windows of accounts last, and how many more agents fit
metrics  counters of settled requests, for Prometheus

It must not know where any of this is stored.
"""
