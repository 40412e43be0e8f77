"""Attacks on the rollup itself, counted. `make adversary` runs all of them and prints one table."""
