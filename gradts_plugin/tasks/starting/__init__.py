"""From a folder of files to task configs and a run file: what is seen, guessed and written."""
