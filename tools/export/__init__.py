"""`tandem export`: recordings in the formats of other tools."""
