"""The floor that touches mitmproxy; nothing else in the package imports it.

script      what mitmproxy loads: builds the addons, refuses on a broken configuration
addon       the hooks of one request: requestheaders, request, relay_attempt, responseheaders, relay_settle, response, error
replay      the HTTP layer that can replay a flow in place
relayed     what is known of one relayed flow, from its first header to its settlement
wire        the request as it leaves: host, path, alias in the flow, key on the wire
answers     answers of the relay's own, in Claude's shape
hookindex   which addon listens to which hook, so that silent ones cost nothing
inspection  what mitmweb and the terminal show
options     mitmproxy options of ours, and those of mitmproxy's that the relay needs
reload      relay.yaml, read again when it changes
"""
