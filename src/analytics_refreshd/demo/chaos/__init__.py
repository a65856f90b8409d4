"""Break the demo's own database and daemons, and watch."""
