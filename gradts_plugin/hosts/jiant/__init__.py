"""The jiant wing: the only part that imports jiant."""
