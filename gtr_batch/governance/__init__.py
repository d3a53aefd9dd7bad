"""Which model stages tonight, who said so, and how it is undone."""
