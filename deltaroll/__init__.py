"""Deltaroll: an optimistic rollup for a derivatives exchange."""

__version__ = "0.1.0"
