"""How a provider is asked and heard.

adapting     an attempt in another format, or by another name of its model: its request, its answer brought into Claude's form
modules      formats by name, and those of the user's own (beside: what stands beside such a module's file)
listing      a provider's list of models, page by page; remembering: what slow questions were answered with
memories     what providers want back in a conversation's next turn, at hand
redaction    no key, token or cookie in what anybody is shown; cover: none of the pool's in what the client gets

It must not know which attempt follows.
"""
