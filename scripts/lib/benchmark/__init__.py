"""The benchmark: the relay beside bare mitmdump and the fake upstream itself, measured in one run on this machine.

    bench command ─► plan ─► scenarios ──orders──► load (a process)  ──HTTP──► target ──► upstream (a process)
                                 │                                             the upstream itself | mitmdump | the relay
                                 └─► figures ─► bars ─► report

traffic    the bytes of requests, made once and sent many times
upstream   the made-up Claude (cli/fake) with orders: whole answers, streams with time stamps in them, now and then a fault (`faults`)
orders     what the load process is told and what it tells: JSON lines
load       the load process: `hammer` (keep-alive requests), `listeners` (streams), `mixture` (the soak's clients)
processes  children: start, wait until they listen, end by id; `gauges` says what memory and processor time they use
targets    the processes that are measured, and the relay.yaml of the relay among them
browser    a client of mitmweb that does what its page does
plan       how much is measured: counts and times
measuring  everything that a plan names
scenarios  which orders in which order; the targets take turns, so that a busy machine hits all alike
team       requests beside a crowd (`crowd`: a process), and with the keys of very many clients
panel      pages over a large database, and requests beside open dashboards (`dashboards`: a process)
choosing   what it costs to choose one of very many keys, in this process
translating how long a request and a chunk of another format take, in this process
reports    how long reports over a million requests take, in this process
soak       a minute of mixed traffic with failing keys, and whether the ledger has every request
kills      kill -9 under load, and whether the ledger has every answered request
figures    percentiles, ratios of the same round, how far they spread
bars       what has to hold, and whether it does
report     tables for people, JSON for programs

The load process and the upstream import the made-up Claude, msgspec and the standard library only, so that they start fast and stay small.
"""
