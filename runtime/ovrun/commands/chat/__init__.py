"""`ovrun chat`: a conversation at a terminal, or from a script on stdin."""
