"""One fill's whole life on a real node: what `make demo` runs."""
