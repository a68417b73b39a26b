"""Ways of ranking the candidates: GradTS by its heads, and the ones it is compared with."""
