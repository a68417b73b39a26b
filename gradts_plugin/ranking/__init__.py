"""Ways of ranking the candidates, one a file: GradTS by its heads, and its rivals."""
