"""By how much a trial helps, and how sure that is."""
