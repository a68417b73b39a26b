"""The embedded demo: generated tasks with a planted truth."""
