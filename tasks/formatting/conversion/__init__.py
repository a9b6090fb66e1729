"""Raw files to raw files: converted, split, compared."""
