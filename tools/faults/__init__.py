"""Faults on purpose, into real processes of a running daemon, and what must be true afterwards."""
