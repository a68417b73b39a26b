"""Task data: what a task config says, and how its files are read and written."""
