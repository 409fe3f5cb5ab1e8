"""What was asked, answered and paid.

ledger       what the proxy writes to; rows: requests and attempts as rows; tables: where they go
writer       the thread that commits whatever queued up, keeps rows while the disk does not play along
sinks        what it writes to
spill        rows on the way through a file, while the database cannot be written
bodies       redacted bodies, where the configuration asks for them, by a writer of their own
reports      sums over them (filters: which rows; lines: what a group's sums say)
crosstab     sums by one or two dimensions, times in any zone
request_pages  requests in pages; conversations: sessions, with their agents
lookups      single requests; kept_requests: those that can be sent again
budget_sums, client_sums: what budgets and limits of clients start from; key_sums: what keys did; proxy_sums: what went by each
             way out
client_hours  closes the hours that client_sums reads
at_work      how many agents were at work
reconciled   what it says of days and models, beside providers' own reports
missed       what missed the prompt cache, by cause
export       rows for other programs; reprice: what they cost by other prices

It must not know keys' secrets or what a request is about.
"""
