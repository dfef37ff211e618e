"""System 2: a small SD-VLA (arXiv 2602.03983) that points at the object an instruction is about."""
