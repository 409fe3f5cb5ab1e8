"""What several relays on one database tell each other.

state        cooldowns, sessions, loads, probes, what was made where; tables: store/db/shared_tables
relays       a row for each running relay, for commands
news         what has changed since one looked last, for whoever shows it
in_force     which cooldowns there were at a moment
leases       concurrent requests and rates of clients
capacities   how long the windows of accounts last
all_keys     all keys: those of the vault and of relay.yaml, as the relays that run have them
all_proxies  outbound proxies with a name, of both, and who goes out through them
daily_reports  providers' own reports, once a day by one of them
key_windows  how far the windows of keys are used
remembered   the names of relay.yaml's keys (alias_tables: as rows; fingerprints: how a key is known again; rekeying: old rows)

It must not know where the other relays are.
"""
