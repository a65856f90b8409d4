"""Turns action_results into months, and makes the months to come."""
