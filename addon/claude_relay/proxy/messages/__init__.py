"""HTTP messages as mitmproxy has them.

hop_by_hop  header fields that are for one hop only
wire        a request's parts as they leave: host, path, alias in the flow, key on the wire
replies     answers of the relay's own, in Claude's shape; welcome: a page for browsers

It must not know flows' states, keys' owners or connections.
"""
