"""A study: its file, prompts and concepts, and the plan made of them."""
