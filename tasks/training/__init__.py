"""Models, the trainer, attention, loss, checkpoints and the memory plan: a plain library."""
