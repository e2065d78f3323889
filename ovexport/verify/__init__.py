"""Is the bundle what the checkpoint is? PyTorch's numbers against the engine's, per graph, per stage, per token.

`reference` computes PyTorch's side, `compare` runs the bundle on the same inputs, `full` compares whole answers,
`report` is the outcome. Knows nothing of how graphs are made.
"""
