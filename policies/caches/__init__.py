"""What is computed anew and what is kept: SD-VLA and every other cache, behind one protocol."""
