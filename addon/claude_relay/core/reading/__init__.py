"""What bodies and streams say, without building the rest of them.

unpack     a compressed request, uncompressed; legible: one that is nearly JSON
body       what routing needs to know of a request
gate       whether an answer may reach the client (answers: its readers, sniff: what it is)
sse        server-sent events from any pieces; decode: decompression from any pieces
resources  what an answer has made upstream, and what a request asks for of it
lenient    JSON that others wrote; spans: large bodies in small steps
"""
