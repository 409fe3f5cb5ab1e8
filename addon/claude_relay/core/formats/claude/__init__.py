"""Claude's own format: `reader` reads a request into a conversation, `tools` knows the built-in ones, `bodies` renames models in place."""
