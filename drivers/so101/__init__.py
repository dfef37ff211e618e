"""SO-100 and SO-101: six Feetech STS3215 servos on one serial bus, calibrated as LeRobot does it.

The bus is half duplex: servos answer on the wire that they are asked on, in about 3 ms for all of
them. `arm.So101Arm` therefore asks behind each set-point and collects the answers a tick later, so
that the executor never waits for a wire; `protocol` and `registers` are the maker's manual.
"""
