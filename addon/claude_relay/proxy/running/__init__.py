"""The relay as it is right now.

runtime      the configuration in force: pools, upstreams, limits
options      mitmproxy options of ours, and those of mitmproxy's that the relay needs; rulings: what becomes of each of mitmproxy's
stored       keys of the vault, cooldowns and sessions, shared with the database
renewals     the next tokens of OAuth accounts
provider_reports  providers' own reports of usage, once a day
windows      how far the windows of keys are used
clients      who has a key of the relay's own, in memory
limiting     limits of clients, kept up with the database
discovery    which models providers have, as they say

It must not know single requests.
"""
