"""What a run is asked to do: the typed configuration, its loader, and the presets."""
