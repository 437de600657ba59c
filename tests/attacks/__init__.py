"""Input that means harm, in numbers."""
