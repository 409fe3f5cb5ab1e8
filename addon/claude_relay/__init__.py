"""Claude Relay, a mitmproxy addon: requests get a key from a pool, are replayed until they succeed, and what they used is written down.

One request, through the modules:

    client ──► next_layer        proxy/replay        mitmproxy's HTTP layer becomes one that can replay
           ──► requestheaders    proxy/addon         who asks? (proxy/doors, core/visitors) ours? (core/endpoints)
                                                     the client's credential leaves the flow (proxy/wire)
           ──► its body          proxy/receiving     how much of it is taken (proxy/intake)
           ──► request           proxy/addon         what is it about? (proxy/bodies) where may it go? (core/routing, proxy/discovery)
                                                     with which key? (core/policy, asking core/keys/pool and core/keys/rests)
                                                     may it be paid for? (proxy/reserving, core/accounting/budgets)
                                                     in which format? (proxy/translating, core/formats/base)
           ~~► wire              proxy/replay        a COPY is signed with the real key (proxy/wire) and sent (proxy/connections);
                                                     how long it may take: proxy/patience
           ◄~~ the answer        proxy/crossing      from a provider of another format: brought into Claude's form first
                                 core/reading/gate   its start is held until it is known to be good
               relay_attempt     proxy/addon         it is not: core/verdicts judges, core/policy says
               ▲                                     wait | another key | another provider | give up   ─┐ replay
               ╰────────────────────────────────────────────────────────────────────────────────────────╯ the flow
           ◄── responseheaders   proxy/addon         it is: say by whom (proxy/bookkeeping), begin to count (core/accounting/usage)
           ◄── chunks            proxy/answering     pass on at once, counted
               relay_settle      proxy/bookkeeping   all but the last event has left: comment (proxy/inspection),
                                                     rows (proxy/rows, store/ledger); then the pool and proxy/reporting
           ◄── response | error  proxy/addon         settle what is not settled yet; let go of the flow and its secrets

The nouns of all this are in core/exchange, the errors that a client may see in core/errors.
A request that comes before all is loaded waits in its first hook (proxy/opening); when the relay ends, those that run may end before
it (proxy/ending).
Through which proxy a request leaves is decided in core/config/outbound, and done in proxy/outbound.
What a flow may show, and what of an answer the client may get, is decided in proxy/redaction and proxy/cover by core/secrets; what the log
says passes proxy/plainlog and proxy/folding. Input that would stop the others is bounded in proxy/heads, flood, watched and backpressure.
Keys of the vault, rests and sessions come and go by proxy/stored (store/vault,
store/state).

Four floors and a side room, each importing only those to its left:

    core ◄─ {store, asking} ◄─ {proxy, cli}

    core    pure: values in, values out; no mitmproxy, no files, no clock or randomness of its own
    store   the SQLite file
    asking  a request of the relay's own to a provider, for its list of models; through an outbound proxy too
    proxy   the only importer of mitmproxy; proxy/script is what addon/relay.py loads
    cli     the commands behind scripts/; starts mitmproxy as a program. Benchmark, fuzzer and simulation are in scripts/lib
"""
