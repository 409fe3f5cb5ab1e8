"""What touches mitmproxy's internals.

connections  connections to upstreams: which may be used again, and what is said of dead ones (http2, adopting, waiting)
http1        a client's HTTP/1 connection: how long its heads may be and take, what becomes of what nobody wants
heads        how long a head may be, for all that read one; first_bytes: the same for what comes before it
flood        what a connection may cost that brings next to nothing; backpressure: whoever does not read stops whoever sends
watched      the outermost layer of a connection: its share of the event loop, its end when a layer fails
alerts       what providers say of TLS after the handshake
accepting    listeners when the process is out of files; default_listener: mitmproxy's own, replaced
marks        how mitmweb shows marks of flows
own_tls      TLS with clients of the listeners themselves; far_tls: with providers and proxies that are trusted in ways of their own
outbound     the way out through a company's proxy; tunnels: CONNECT and SOCKS5, as layers
hook_index   which addon listens to which hook; shortcuts: what mitmproxy does for every message, done in less time

It must not know what a request is about.
"""
