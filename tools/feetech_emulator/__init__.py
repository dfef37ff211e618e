"""A serial bus with six STS3215 servos on it, as an SO-101 has, behind a pseudo-terminal.

For whoever writes software for such an arm and has none at hand: any client opens the port and
finds servos that answer, move, and fail when told to. It shares no code with Tandem's driver, so
that a mistake of one is not a mistake of both.
"""
