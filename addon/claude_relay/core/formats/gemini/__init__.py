"""Google's Gemini: `requests` and their `answers`.

requests        settings and tools; contents: what the conversation becomes, media: its files; thinking: how much, and how long an answer
schema          JSON Schema as Gemini takes it (keywords: what they say; merging: two schemas as one; patterns: those that it can compile)
models          what a model's name tells of it
answers         whole or as a stream; finish_reasons: why it stopped; grounding: what its searches have found
"""
