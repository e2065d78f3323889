"""`ovexport eval`: questions of a suite, asked of checkpoints and bundles, judged and tabulated.

A suite is drawn (`drawn`) or read from a file (`own_sets`); `answerers` answer, `scoring` judges, `tally` counts.
"""
