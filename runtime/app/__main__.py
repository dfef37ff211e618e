"""`python -m tandem.runtime.app ROLE CONFIG`: a process of a daemon, started by its supervisor."""

import sys

from tandem.runtime.app.roles import main

sys.exit(main(*sys.argv[1:]))
