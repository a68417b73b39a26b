"""Finished selections for other frameworks to train."""
