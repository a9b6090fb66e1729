"""The third pass: kept rows as tokens and labels, in files for training and evaluation."""
