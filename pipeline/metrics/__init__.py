"""The measures that are pure functions of tensors and curves."""
