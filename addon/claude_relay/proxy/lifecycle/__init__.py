"""The relay's own life.

opening      the start: what is loaded, and the requests that wait for it
reload       relay.yaml, read again when it changes
renewal      the certificate of the listeners, read again when it is renewed
presence     this relay's row in the table of running relays
panel_process  the panel: a child that is looked after, and ends with the relay
stopping     a client is told to stop: its requests that run are ended
ending       the end: SIGTERM and Ctrl-C, requests that may still run, those that are cut off
"""
