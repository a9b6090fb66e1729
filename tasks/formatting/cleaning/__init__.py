"""Rules that leave rows out or change them, and what finds rows that are nearly alike."""
