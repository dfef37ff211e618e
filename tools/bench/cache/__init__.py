"""`tandem bench cache`: every cache of vision tokens in one table."""
