"""The process that speaks to a Franka hand: `LIBRARY HOST FD SPEED FORCE`.

Open is a move to the full width, closed is a grasp of whatever is there. While a call runs, newer
wishes wait and only the last of them counts.
"""

import select
import signal
import socket
import sys
import time
from typing import Any

from tandem.drivers.franka.hand import WIDTH, WISH
from tandem.drivers.franka.sockets import same_scheduling

_OPEN_FROM = 0.5
_LOOK_S = 0.05
_RETRY_S = 1.0
_ANY_M = 0.08  # tolerance of a grasp: whatever is between the fingers is held


def connect(library: str, host: str) -> Any:
    """The vendor's gripper object."""
    if library == "pylibfranka":
        import pylibfranka

        with same_scheduling():
            return pylibfranka.Gripper(host)
    from panda_py import libfranka

    return libfranka.Gripper(host)


def serve(gripper: Any, line: socket.socket, speed_m_s: float, force_n: float) -> None:
    """Until the other end closes; raises what the vendor's library raises."""
    while True:
        state = gripper.read_once()
        line.send(WIDTH.pack(state.width))
        wish = _newest(line)
        if wish is None:
            continue
        if wish >= _OPEN_FROM:
            gripper.move(state.max_width, speed_m_s)
        else:
            gripper.grasp(0.0, speed_m_s, force_n, _ANY_M, _ANY_M)


def _newest(line: socket.socket) -> float | None:
    """The last wish that has come, waiting a moment for one."""
    wish, wait_s = None, _LOOK_S
    while select.select((line,), (), (), wait_s)[0]:
        message = line.recv(WISH.size)
        if not message:
            sys.exit(0)
        (wish,), wait_s = WISH.unpack(message), 0.0
    return wish


def main(library: str, host: str, fd: str, speed: str, force: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = socket.socket(fileno=int(fd))
    while True:
        try:
            # Nothing keeps the object that fails: the hand serves one client, and it would be that.
            serve(connect(library, host), line, float(speed), float(force))
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # the vendor's libraries raise nearly anything
            print(f"hand at {host}: {error}; trying again", file=sys.stderr)
            if _gone(line):
                return
            time.sleep(_RETRY_S)


def _gone(line: socket.socket) -> bool:
    readable, _, _ = select.select((line,), (), (), 0)
    return bool(readable) and not line.recv(WISH.size, socket.MSG_PEEK)


if __name__ == "__main__":
    main(*sys.argv[1:])
