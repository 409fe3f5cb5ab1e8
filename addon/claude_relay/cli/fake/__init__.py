"""A made-up Claude, one for all: the demo, the benchmark, the simulated day and the tests ask it instead of the real one.

    messages   what it says: bodies, events, errors, headers
    answers    whole answers, and the faults by name
    server     HTTP/1.1 in an event loop, lean enough for the benchmark; in a thread where others are at work
    free_ports  for the relay that is to ask it

What somebody needs beyond that is theirs: keys that are treated differently (demonstration/claude), time stamps in events
(scripts/lib/benchmark/upstream), token buckets (scripts/lib/simulation), HTTP/2 and scripts of steps (tests/wire/upstream). Only the
standard library is used, and nothing of the relay: what is made up must not agree with it by having the same mistake.
"""
