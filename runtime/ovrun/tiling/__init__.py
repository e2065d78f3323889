"""From an image's size to its tiles (`grid`, `tiles`) and its visual tokens (`plan`)."""
