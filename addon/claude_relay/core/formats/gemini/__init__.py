"""Google's Gemini: `requests`, their `answers`, and the `schema` of tools as far as it takes one."""
