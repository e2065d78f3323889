"""`ovrun serve`: an OpenAI-compatible HTTP server over one session. Needs the extra `ovexport[server]`.

A request becomes an answer in this order: protocol (connections) -> app (routes) -> body (bytes) -> wire and content
(what is asked) -> service (who may ask, and when) -> worker (the thread that decodes) -> reply (what is sent back).
"""
