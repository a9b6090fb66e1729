"""The formats of rows: told apart, checked, and turned into examples."""
