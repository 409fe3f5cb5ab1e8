"""The same requests at several targets, and how their answers differ.

answers     what of an answer is compared
outcomes    one answer with what it cost; all of one request, by target; all of a duel
fighting    which goes when
comparing   where the others are not like the first
texts       a duel in words: lines for a log, differences of texts; documents: as JSON

It must not know how a request gets to its target.
"""
