"""What pages share: the bar at the top, cards, drawing, pictures, choices."""
