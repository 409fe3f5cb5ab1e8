"""Who is let in.

doors          strangers, circles, own listeners, web pages, wrong names (door_hooks: tunnels, connections)
own_listeners  whether a connection would lead to the relay itself
trail          through which relays a request has come

It must not know attempts.
"""
