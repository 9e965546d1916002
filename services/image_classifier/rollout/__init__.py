"""Which model version says what of which frame: the five strategies, what they did, and what follows from it."""
