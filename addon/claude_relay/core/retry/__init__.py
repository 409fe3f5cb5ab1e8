"""What an outcome means, and what follows from it.

verdicts   what an attempt's outcome means, by a table (table, core/data/verdicts.json)
policy     which attempt is next, and when to wait; state: its way over targets and keys; endings: how it ends
refusals   what is said when no attempt is left

It must not know connections or bytes: it sees facts and outcomes.
"""
