"""A simulated day: fifty keys, three organisations, hundreds of sessions, and the relay's own core choosing among them.

    fleet ── who has which limits, and what happens to them ─┐
    traffic ── what the clients ask for, and when ───────────┤
                                                             ▼
    day ──► client process ──► core.policy.attempts ──► upstream (buckets, caches, answers) ──► Outcome ──► tally ──► report

Nothing of the core is replaced: the same pool, policy, verdicts and sessions as in the proxy, driven by a clock that jumps. The
upstream is made up, but its limits are real token buckets and its answers have the status codes, headers and bodies of Claude's.
"""
