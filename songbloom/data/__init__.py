"""Training sets: shards on disk, the dataset over them, the loader over that."""
