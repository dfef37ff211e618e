"""`tandem run --record`: everything that decided, in MCAP files that Foxglove opens."""
