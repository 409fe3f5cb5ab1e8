"""The parts of `scripts/drill`: a client is run once without faults and once with each set of them.

sets      the sets there are, and those that somebody types
staging   the relay's configuration and the client's environment
seeing    one run: what the person would have seen, and what it cost
replaying a capsule's settings, its upstream and its request; again: whether the same came of it
report    how that is shown
"""
