"""What lets jiant 2.2.0 run on newer packages: one mend a file, and the table of them."""
