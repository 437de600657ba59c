"""One page of the dashboard a file."""
