"""OpenAI's two formats, and what is like them: requests (`chat`, `responses`), answers (`chat_answers`,
`responses_answers`), what both have in `common`, what model families take (`families`), and schemas (`schemas`).

Of a request for Chat Completions, `chat_thread` writes the messages, with files (`chat_media`) and what providers want back
(`chat_memory`); `chat_thinking` says how far the model shall think, `chat_search` how it searches, `chat_schemas` which patterns stay. Why
an answer ended is in `chat_ends`. What Responses want back is in `responses_memory`."""
