"""The floor that touches mitmproxy; nothing else in the package imports it.

script       what mitmproxy loads: sets the relay up, refuses on a broken configuration
opening      the start: what is loaded, and the requests that wait for it
ending       the end: SIGTERM and Ctrl-C, requests that may still run, those that are cut off
client_connections  the clients' connections and the requests on them, for the end
process      what it sets for its whole process: threads, memory
loops        what runs beside the requests and goes on whatever happens
stored       keys of the vault, cooldowns and sessions, shared with the database
addon        the hooks of one request: requestheaders, request, relay_attempt, responseheaders, relay_settle, response, error
doors        who is let in: strangers, circles, own listeners, web pages, wrong names (doorhooks: tunnels, connections)
own_listeners  whether a connection would lead to the relay itself
trail        through which relays a request has come
rejections   what is refused for the relay's own protection, counted and told
replay       one stream: a request and its answer, through as many attempts as it takes
receiving    the request on its way in: what of it is read, and how much; intake: what its head alone decides
answering    its other half: what of an accepted answer leaves, and the limits that watch over it
room         how much memory answers may take together
patience     how long an attempt may take, and which limit of relay.yaml says so; unsent: what of its request has not left
relay_layer  the HTTP layer that owns such streams, with its connections and alarms
http1        a client's HTTP/1 connection: how long its heads may be and take, what becomes of what nobody wants
heads        how long a head may be, for all that read one; firstbytes: the same for what comes before it
backpressure whoever does not read stops whoever sends
connections  those connections: which may be used again, and what is said of dead ones (http2, adopting)
flood        what a connection may cost that brings next to nothing
watched      the outermost layer of a connection: its share of the event loop, its end when a layer fails
relayed      what is known of one relayed flow, from its first header to its settlement
runtime      the configuration as it is right now: pools, upstreams, limits
pointing     the request of one attempt: where to, in whose words, with whose key
wire         its parts as they leave: host, path, alias in the flow, key on the wire
hops         header fields that are for one hop only
translating  a request for a provider of another format: read, recalled, translated
memories     what providers want back in a conversation's next turn, at hand
crossing     such an attempt: its request, its answer brought into Claude's form
discovery    which models providers have, as they say: for `models: first`, and for the list of models
listing      the list of one provider, page by page; remembering: what slow questions were answered with
modelspage   /v1/models: whose answer it is, and the relay's own
modules      formats by name, and those of the user's own
beside       what stands beside such a module's file
redaction    no key, token or cookie in what anybody is shown; cover: none of the pool's in what the client gets
answers      answers of the relay's own, in Claude's shape
bookkeeping  settles a request: pool, headers, the line that people see, the ledger
rows         its rows in the ledger
costs        what it used, and what that costs
inspection   what mitmweb and the terminal show
reserving    what a request may cost, reserved under the budgets while it runs
reporting    who hears of settled requests besides the ledger: budgets, notices, metrics, telemetry, bodies
metrics      how the relay is at this moment, for /metrics (counters: core/accounting/metrics)
status_server  /metrics and /healthz on listen.status
health       how the relay is, for /healthz; rejections: what it refuses for its own protection
accepting    listeners when the process is out of files
telemetry    settled requests as OpenTelemetry spans and metrics
jsonlog      the log as JSON lines; folding: one line for many that are alike; plainlog: no secret and no control character in any
notices      notices on their way to a webhook and a command
hookindex    which addon listens to which hook, so that silent ones cost nothing
shortcuts    what mitmproxy does for every message, done in less time
options      mitmproxy options of ours, and those of mitmproxy's that the relay needs; rulings: what becomes of each of mitmproxy's
confdir      mitmproxy's own folder, and the certificate authority in it
presence     this relay's row in the table of running relays
banner       what the relay says to the person who started it
default_listener  mitmproxy's default listener, replaced by the relay's own
clock        what cooldowns and waits go by
outbound     the way out through a company's proxy
reload       relay.yaml, read again when it changes
"""
