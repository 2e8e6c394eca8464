"""Reading and writing at the edge: audio, corpora, checkpoints, runs."""
