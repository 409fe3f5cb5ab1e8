"""Claude's own format: `reader` reads a request into a conversation, `bodies` renames models in place.

reader    the request; what its messages hold: blocks, its tools: offered, single fields and their types: fields
tools     the built-in ones, described for other models
"""
