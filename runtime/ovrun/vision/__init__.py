"""From tiles to the rows that the language model sees in place of image tokens."""
