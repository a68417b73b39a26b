"""Finished selections for other frameworks to train: MT-DNN."""
