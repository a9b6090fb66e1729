"""Which bytes a run reads: data versions and pinned base models."""
