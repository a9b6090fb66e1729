"""Serving: one model behind the API that OpenAI's clients speak."""
