"""What an outcome means, and what follows from it.

verdicts    what an attempt's outcome means, by a table (table, core/data/verdicts.json)
policy      which attempt is next, and when to wait; endings: how it ends
candidates  who is of use for it; state: what became of its tries (tries: what each is made of)
refusals    what is said when no attempt is left

It must not know connections or bytes: it sees facts and outcomes.
"""
