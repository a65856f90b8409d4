"""Leader lock, status, history, alert state and pauses in the database."""
