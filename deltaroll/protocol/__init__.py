"""The state transition function: pure, integer-only, the twin of `contracts/protocol`."""
