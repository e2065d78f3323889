"""From a prompt of ids to text: prefill, the choice of tokens, and their way back to characters."""
