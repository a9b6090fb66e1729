"""Other fine-tuning systems as engines: they train, everything around them is ours."""
