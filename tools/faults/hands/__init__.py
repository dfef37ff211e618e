"""An operator at a running daemon: hand-overs, lost links, dead minds, each judged in the plant."""
