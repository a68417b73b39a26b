"""Head importance from gradients."""
