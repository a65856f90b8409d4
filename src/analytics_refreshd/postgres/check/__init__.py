"""What `check` finds in a database."""
