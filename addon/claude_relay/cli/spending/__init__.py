"""What `usage` shows: forms of a report, one request, sessions, and a table that keeps itself up to date.

cells     figures in five characters or fewer, and the columns that they stand in
charts    bars and sparklines
forms     a report as table, JSON, CSV
single    `usage show`: one request and its attempts on a time line
sessions  `usage sessions`
misses    `usage cache`: what missed the prompt cache
watching  `usage --watch`
source    the ledger that is read, and what is said when it cannot be
"""
