"""The second pass: every row gets its split, once and for good."""
