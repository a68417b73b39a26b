"""What is kept on disk: whole files, keys of stored numbers, importances and trainings."""
