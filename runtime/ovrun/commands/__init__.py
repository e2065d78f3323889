"""The commands of `ovrun`, a module or package each; `ovrun.cli` has the table."""
