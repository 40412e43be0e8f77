"""The project's own linters: rules of the protocol layer that no general tool knows."""
