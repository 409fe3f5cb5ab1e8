"""What is known of one relayed request.

relayed      its state, from its first header to its settlement; requested: what of it its client makes
incoming     an upstream's answer as it comes, to one attempt; outgoing: an answer as the client gets it
records      what is written down of each attempt
intake       how much of its body is taken; bodies: what it is about
room         how much memory answers may take together
patience     how long an attempt may take, and which limit of relay.yaml says so
translating  a request for a provider of another format: read, recalled, translated
costs        what it used, and what that costs; rows: its rows in the ledger
caching      what it missed of the prompt cache, and why

It must not know hooks or layers.
"""
