"""The floor that touches mitmproxy; nothing else in the package imports it. The rooms, each importing only those above it:

common     loops beside the requests, the clock, refusals counted and told
messages   HTTP messages: header fields of one hop, a request's parts as they leave, answers of the relay's own
mitm       mitmproxy's internals: connections, their bounds, shortcuts, the way out through a company's proxy
provider   formats and their modules, adapted requests and answers, redaction
running    the relay as it is configured now, and what it shares with its database
log        the log: without secrets, folded, its outputs behind queues
request    what is known of one relayed request, and what it costs
access     who is let in: strangers, circles, own listeners, web pages, wrong names
stream     one stream: a request and its answer, through as many attempts as it takes
watch      who hears of settled requests: metrics, notices, telemetry, mitmweb, /healthz
views      bodies as people read them: contentviews
lifecycle  start, reload, presence, end
flow       the hooks of one request, from its first header to its settlement

script     what mitmproxy loads: sets the relay up and tears it down
configuring relay.yaml: read, and put into force whole or not at all
recordings recorded requests, sent again from mitmproxy's console
exporting  flows as files for others to read, from mitmproxy's console
banner     what the relay says to the person who started it; commands: the relay from mitmproxy's console
confdir    mitmproxy's own folder, and the certificate authority in it
"""
