"""Write the daemon's log."""
