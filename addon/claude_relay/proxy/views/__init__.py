"""Bodies as people read them: contentviews of mitmproxy for what agents and models say to each other.

registry    the views as mitmproxy knows them; recognition: which body is which
seen        what is known of the message around a body
page        values as YAML for people, within bounds; excerpts: JSON and streams that are cut off, broken or huge
elements    what pages of all formats are made of: turns, folded instructions and tools, pictures, calls

claude_request, claude_answer, batch_results (claude_blocks: what these share)
openai_chat, openai_responses, gemini
            requests and answers, streamed or whole
token_count, errors
            answers of all providers

A page is made when somebody looks, on the loop of the traffic: 256 KB are shown in full and what is beyond is summarised, within 5 ms. It
must not change a body, and shows nothing but what the flow holds, which is without secrets.
"""
