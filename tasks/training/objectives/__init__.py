"""Training by other objectives than supervised answers: preference losses of TRL."""
