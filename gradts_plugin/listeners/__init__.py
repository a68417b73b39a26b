"""Who listens to a run: plugins that write down what they are told."""
