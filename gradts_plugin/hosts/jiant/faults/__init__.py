"""What mends jiant's own faults, each behind a switch of its own."""
