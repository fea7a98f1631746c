"""Trained taggers at work: words in, tags, probabilities and entities out."""
