"""A venue of real processes under mixed load for a while: `make soak MINUTES=30`."""
