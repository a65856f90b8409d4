"""What `migrate` does to a database."""
