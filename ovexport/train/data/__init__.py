"""From files of records to batches: `records`, `mixture`, `sample`, `collate`, and `grouping` for their order."""
