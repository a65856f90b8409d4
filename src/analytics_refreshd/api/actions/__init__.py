"""What operators may ask for over HTTP: refreshes, pauses, and their end."""
