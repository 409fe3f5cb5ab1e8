"""Who asks, and what they may do.

    passwords   argon2id
    second_factor  codes of an app, recovery codes
    visitors    the admin behind a cookie or a token; what a route needs: Reader, Operator, Administrator, Confirmed, Oneself
    entering    name, password and code; the session that they begin
    delays      failed sign-ins: each costs more time, and nobody is locked out
    methods     HEAD, OPTIONS, which methods an address has
    doors       by which names the panel may be called, which pages may send something; headers of every answer

It must not know what routes do.
"""
