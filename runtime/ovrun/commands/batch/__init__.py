"""`ovrun batch`: many questions, answered together, one line of JSON each."""
