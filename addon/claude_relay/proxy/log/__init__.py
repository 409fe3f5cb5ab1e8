"""The log.

plain      no secret and no control character in any line
folding    one line for many that are alike
queued     outputs that are written by threads; terminal: mitmproxy's, so

It must not know what is said.
"""
