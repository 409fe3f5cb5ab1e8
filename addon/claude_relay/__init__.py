"""Claude Relay, a mitmproxy addon: requests get a key from a pool, are replayed until they succeed, and what they used is written down.

One request, through the rooms of `proxy`, in the order in which it happens:

    client ──► its connection    mitm/watched, mitm/http1   bounded: its share of the event loop, its heads
           ──► requestheaders    flow/claiming              who asks? (access/doors, core/visitors) ours? (core/endpoints)
                                                            whose client key is it? (access/identity, running/clients)
                                                            the client's credential leaves the flow (messages/wire)
           ──► its body          stream/receiving           how much of it is taken (request/intake)
           ──► request           flow/deciding              what is it about? (request/bodies)
                                                            may its client do that? (flow/rights, core/clients/permitting)
                                                            within its limits? (flow/admitting, core/clients/admission)
                                                            where may it go? (core/routing)
                                                            with which key? (core/retry/policy asks core/keys/pool)
                                                            may it be paid for? (flow/reserving, core/accounting/budgets)
                                                            in which format? (request/translating, core/formats/base)
           ~~► wire              stream/dispatching         a COPY is signed with the real key (flow/pointing, messages/wire)
                                                            and sent (mitm/connections); how long it may take: request/patience
           ◄~~ the answer        provider/adapting          from a provider of another format: brought into Claude's form first
                                 core/bodies/gate           its start is held until it is known to be good
               relay_attempt     flow/deciding              it is not: core/retry/verdicts judges, core/retry/policy says
               ▲                                            wait | another key | another provider | give up   ─┐ replay
               ╰────────────────────────────────────────────────────────────────────────────────────────────────╯ the flow
           ◄── responseheaders   flow/hooks                 it is: say by whom, begin to count (request/outgoing)
           ◄── chunks            stream/answering           pass on at once, counted
               relay_settle      flow/settle                all but the last event has left: comment (watch/inspection),
                                                            rows (request/rows, store/ledger); then the pool and watch/reporting
           ◄── response | error  flow/hooks                 settle what is not settled yet; let go of the flow and its secrets

What a flow may show, and what of an answer the client may get: provider/redaction and provider/cover, by core/secrets; what the log says
passes log/plain and log/folding. A request that comes before all is loaded waits in its first hook (lifecycle/opening); when the relay
ends, those that run may end before it (lifecycle/ending). What mitmweb shows of a settled request: views; recorded ones are sent again
by proxy/recordings; the relay's own pages at its base URL: pages; what fails on purpose: core/faults, stream/faulting.
Through which proxy a request leaves: core/config/outbound, mitm/outbound, mitm/tunnels. Tokens of OAuth accounts are renewed by
running/renewals; providers' own reports of what was used are fetched by running/provider_reports; the panel is started, and started
again, by lifecycle/panel_process.

Floors, each importing only those to its left; docs/architecture.md has the rooms, tests/test_architecture.py draws the graph:

    core ◄─ {store, upstream} ◄─ {proxy, panel, cli}

    core      pure: values in, values out; no mitmproxy, no files, no clock or randomness of its own
    store     the SQLite file
    upstream  requests of the relay's own to a provider, for lists of models, checks, tokens; through an outbound proxy too
    proxy     the only importer of mitmproxy; proxy/script is what addon/relay.py loads
    panel     admin API and web panel, a process of its own
    cli       the commands behind scripts/; starts mitmproxy as a program. Benchmark, fuzzer and simulation are in scripts/lib
"""
