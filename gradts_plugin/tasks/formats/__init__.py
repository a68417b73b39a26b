"""The readers of task data, a format a file: each yields the rows of one split."""
