"""The pure floor: values in, values out.

Nothing here imports mitmproxy, opens a file, reads a clock or draws a random number; clock and randomness are arguments.
"""
