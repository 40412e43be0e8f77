"""Build tools of the repository: set-up, the fast compiler and the project's own linters."""
