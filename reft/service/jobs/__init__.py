"""Jobs: what they are in the database, and what runs them."""
