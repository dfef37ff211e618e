"""Tandem: a real-time robot control runtime for vision-language-action policies with two systems."""

__version__ = "0.1.0"
