"""Everything between the rollup and Ethereum: contracts, commitments, events, transactions."""
