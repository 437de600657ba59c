"""The bundled demo models: emoji scenes, and how the models are trained on them."""
