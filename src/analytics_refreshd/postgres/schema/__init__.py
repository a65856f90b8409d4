"""What our objects should look like, and what a database has."""
