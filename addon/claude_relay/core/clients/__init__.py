"""Clients: people and programs that have a key of the relay's own.

credentials  keys and tokens of the relay's own: made, recognised, hashed, masked
offers       what a request says of whose it is
denials      why somebody is not served, in words
limits       one limit as a value, and as people write it (`60 requests/minute`, `$20/day per session`)
permissions  what a client or a group may do, and its limits
permitting   what a client may do, held against a request
sign_in      device codes, and how long tokens are valid
guesses      how often anybody may try
setup        what a client's person needs
spelling     single values, as people write them
caps         what Claude Code is told of a cap: header fields, and what `/usage` shows
directory    who there is: clients, groups, and the client behind a secret
admission    lets a request through its limits, and counts what it uses
known        how far limits are used, as far as is known here
demand       which limits hold for a request; agents: which agents belong together
gcra         requests and tokens a minute
slots        concurrent requests; queue: those that wait for a place
money        what was spent and is reserved of a limit; exceeded: the refusal

It must not know flows, routes or where clients are stored. Times are seconds since the epoch.
"""
