"""Custom tasks as jiant tasks, and how they are scored."""
