"""The order book, price-time matching and pre-trade risk: integers only, no I/O, no clock."""
