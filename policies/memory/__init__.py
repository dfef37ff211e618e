"""A System 2 that remembers: what was done, where things stood, when it was."""
