"""Where probes, trainings and values are found or made, and what that cost is written down."""
