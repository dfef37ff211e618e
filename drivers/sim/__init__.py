"""A simulated cell: a Panda of primitives, a table with cubes, an open bin, and cameras.

Choosing the renderer's backend must come before anyone imports mujoco, so it happens here.
"""

from tandem.drivers.sim.gl import choose_backend

choose_backend()
