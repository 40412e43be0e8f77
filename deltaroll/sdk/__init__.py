"""A trader's side: signing orders and actions, proofs of exits."""
