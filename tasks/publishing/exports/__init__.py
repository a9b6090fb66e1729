"""Exports: a model in the formats of other runtimes, each compared with the model itself."""
