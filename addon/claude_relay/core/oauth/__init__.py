"""OAuth accounts: what tokens are, how people allow them, when they are due.

grants        tokens, and what an endpoint's answer means
authorizing   the page that a person opens, and what comes back from it
timing        when tokens are renewed, and how an account is by now
own_files     files of a person's own credentials

It must not know where tokens are kept, nor how they are fetched.
"""
