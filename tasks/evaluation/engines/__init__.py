"""What answers prompts: batches here, other engines, or a server."""
