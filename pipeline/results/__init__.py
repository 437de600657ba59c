"""A results folder: rows, shards, ledger, storage, and what verifies, compares and merges them."""
