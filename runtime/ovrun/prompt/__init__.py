"""From a conversation to token ids: turns (`messages`), their text (`template`), ids (`tokenizer`, `compose`)
and the places of visual tokens among them (`expand`).
"""
