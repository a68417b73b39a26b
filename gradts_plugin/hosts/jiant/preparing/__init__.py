"""jiant's preparation: encoders exported, tasks tokenised and cached."""
