"""Recorded requests, from whatever holds them, as they can be sent again.

recorded    one of them: what of it is sent, and what never is
files       which kind one is, and what is in it
flow_files  mitmproxy's files of flows (tnetstring: what they are written in); har: HTTP archives

It must not know where a request is sent, or by whom.
"""
