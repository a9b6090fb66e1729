"""Side by side with other systems; `results/` holds figures with how they were obtained."""
