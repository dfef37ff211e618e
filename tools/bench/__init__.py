"""`tandem bench`: what machine and build really do, beside something else in the same run."""
