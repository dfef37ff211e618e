"""The composition root: the only place where loops meet drivers and policies.

`python -m tandem.runtime.app ROLE CONFIG` is one process of a daemon; `Lockstep` is all of them in
one process on a virtual clock. Concrete classes are imported inside each builder, so that the
executor never loads torch and S2 never loads a driver.
"""
