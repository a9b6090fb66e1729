"""Conversations to token ids and labels: the one renderer of every stage."""
