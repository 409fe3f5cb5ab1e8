"""Who is let in.

identity       who asks, by keys of the relay's own, and whether that is enough
doors          circles, own listeners, web pages, wrong names (door_hooks: tunnels, connections)
own_listeners  whether a connection would lead to the relay itself
origin         by which address a client has reached the relay
trail          through which relays a request has come

It must not know attempts.
"""
