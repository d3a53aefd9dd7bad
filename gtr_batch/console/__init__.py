"""What the pages for people are made of: the site they read, and the pictures of a case. No torch, and no model."""
