"""What was found, for people: pages, figures, and the numbers they show."""
