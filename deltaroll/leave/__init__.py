"""Leaving a rollup with a key and an L1 node: what is there, what to do next, and doing it."""
