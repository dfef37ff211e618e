"""`tandem replay`: a recording fed back through one part, and its decisions compared."""
