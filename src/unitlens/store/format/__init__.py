"""The format of a store: arrays, chunks and shards, and the files that reveal damage."""
