"""Networks that answer: predictions, films, converted weights."""
