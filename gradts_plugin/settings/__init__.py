"""The settings of a run, a group of keys a file: read, checked, and never changed after."""
