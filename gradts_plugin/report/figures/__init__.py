"""The figures: first their numbers, then the drawing; one figure a file."""
