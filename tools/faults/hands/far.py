"""A terminal in another network: its keys and its screen come over TCP, as they do over ssh.

`Wire` is a network namespace with one cable to here, which can be pulled out. In there runs this
file as a program: it answers what a terminal is asked, and types what it is told on its standard
input, in hexadecimal. At the near end is what sshd would be: a pseudo-terminal in which
`tandem teleop` runs, and whoever carries bytes between it and the network.
"""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from tandem.runtime.errors import ConfigError
from tandem.tools.faults.hands.terminal import Hand, answers

_HERE, _THERE = "198.51.100.1", "198.51.100.2"  # TEST-NET-2: nobody should have these
_BITS = "/30"
_LOOK_S = 0.05
_CONNECT_S = 10.0


class Wire:
    """`with Wire() as wire:`; needs root. `cut` pulls the far end out, `mend` puts it back."""

    def __init__(self) -> None:
        self.name = f"tandem{os.getpid()}"
        self._near, self._far = f"tdn{os.getpid() % 10**6}", f"tdf{os.getpid() % 10**6}"

    def __enter__(self) -> "Wire":
        """Raises ConfigError: the system does not let us."""
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._near, "type", "veth", "peer", self._far, "netns", self.name)
            _ip("addr", "add", _HERE + _BITS, "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self.name, "addr", "add", _THERE + _BITS, "dev", self._far)
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def cut(self) -> None:
        _ip("-n", self.name, "link", "set", self._far, "down")

    def mend(self) -> None:
        _ip("-n", self.name, "link", "set", self._far, "up")


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise ConfigError(f"ip {' '.join(words)}: {said}; root and iproute2 are needed") from error


class FarHand(Hand):
    """A hand at a terminal at the other end of a wire."""

    def __init__(self, wire: Wire, base: Path, *options: str) -> None:
        with socket.create_server((_HERE, 0)) as door:
            door.settimeout(_CONNECT_S)
            program = [sys.executable, "-m", "tandem.tools.faults.hands.far"]
            self._far = subprocess.Popen(
                ["ip", "netns", "exec", wire.name, *program, str(door.getsockname()[1])],
                stdin=subprocess.PIPE,
            )
            self._line, _ = door.accept()
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(base, *options)

    def type(self, data: bytes) -> None:
        assert self._far.stdin is not None
        self._far.stdin.write(data.hex().encode() + b"\n")
        self._far.stdin.flush()

    def close(self) -> None:
        super().close()
        self._line.close()
        assert self._far.stdin is not None
        self._far.stdin.close()
        self._far.wait()

    def _serve(self) -> None:
        """Carry bytes both ways, like sshd: nothing is answered here."""
        line, ends = self._line, (self._line, self.master)
        while self.linked:
            ready, _, _ = select.select(ends, [], [], _LOOK_S)
            try:
                if self.master in ready:
                    data = os.read(self.master, 4096)
                    self._show(data)
                    line.sendall(data)
                if line in ready:
                    data = line.recv(4096)
                    if not data:
                        return
                    os.write(self.master, data)
            except OSError:
                return


def main(port: int) -> None:
    """The far end."""
    with socket.create_connection((_HERE, port), _CONNECT_S) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        typed, keys = b"", sys.stdin.fileno()
        while True:
            ready, _, _ = select.select([line, keys], [], [])
            if line in ready:
                data = line.recv(4096)
                if not data:
                    return
                line.sendall(answers(data))
            if keys in ready:
                data = os.read(keys, 4096)
                if not data:
                    return
                *whole, typed = (typed + data).split(b"\n")
                line.sendall(bytes.fromhex(b"".join(whole).decode()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
