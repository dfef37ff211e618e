"""Real cameras, and films in their place: a file a driver, `make` finds it by its name."""
