"""What pages share: the sidebar, cards, drawing, pictures, choices."""
