"""What bodies and streams say, without building the rest of them.

unpack      a compressed request, uncompressed; legible: one that is nearly JSON
facts       what routing needs to know of a request
prompts     what of a request a provider caches, as hashes of its blocks
gate        whether an answer may reach the client (readers: of its kinds; sniff: which it is)
sse         server-sent events from any pieces; decode: decompression from any pieces (zstd)
deltas      takes secrets out of a stream that tells them in several deltas
resources   what an answer has made upstream, and what a request asks for of it
ratelimits  what header fields say of limits, by the table in core/data
lenient     JSON that others wrote

It must not know keys, formats of other providers, or what becomes of a request.
"""
