"""A Franka arm and hand without the steel: what the vendor's client libraries connect to.

It speaks the Franka Control Interface (names and numbers of its fields come from the Apache-2.0
headers of libfranka-common) and is strict where the robot is strict: about limits, about lost
packets, about who may connect.
"""
