"""The frameworks the plugin can live in."""
