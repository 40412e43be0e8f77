"""Mutation testing: small changes of the protocol, each of which a test must notice."""
