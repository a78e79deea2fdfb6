"""The format of a store: its arrays, chunks and shards, and the files that vouch for them."""
