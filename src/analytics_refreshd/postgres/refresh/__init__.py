"""One refresh of the views, bounded and fenced."""
