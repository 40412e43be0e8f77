"""Real markets, replayed through the protocol: who gains, who is liquidated, and who pays."""
