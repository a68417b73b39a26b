"""Training runs through jiant's own runner."""
