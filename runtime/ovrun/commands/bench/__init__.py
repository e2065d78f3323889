"""`ovrun bench`: what each stage takes with this bundle on this machine."""
