"""OpenAI's two formats, and what is like them: requests (`chat`, `responses`), answers (`chat_answers`,
`responses_answers`), and what model families take (`families`)."""
