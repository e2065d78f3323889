"""The figures that issues ask for, by name and with their bounds: `make bench-gates`."""
