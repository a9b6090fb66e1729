"""LLaMA-Factory as engine, in an environment of its own."""
