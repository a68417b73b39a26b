"""For those who write a host or a method: a host without a framework, and what hosts promise."""
