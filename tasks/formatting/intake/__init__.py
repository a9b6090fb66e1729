"""The first pass: every row read, checked and cleaned, in parallel chunks, onto disk."""
