"""The benchmarks, each a command of its own."""
