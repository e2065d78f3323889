"""One file per peer, each run in an environment of its own: contestant.py says what it may have, table.py has all."""
