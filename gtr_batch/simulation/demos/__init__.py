"""The four demos and what they show."""
