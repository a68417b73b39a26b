"""Selection methods side by side: what each selects, scores and costs."""
