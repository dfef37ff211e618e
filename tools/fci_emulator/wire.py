"""Sockets that never wait: a listener that takes one client, and that client's messages."""

import contextlib
import socket
import struct
from collections.abc import Iterator

from tandem.runtime.errors import DeviceError

_MAX_REQUEST = 1 << 16
_CHUNK = 1 << 16


class Peer:
    """One connected client. `udp_port`: where it wants its states; 0 until it has said so."""

    def __init__(self, connection: socket.socket, header: struct.Struct) -> None:
        self.udp_port = 0
        self.gone = False
        self.host: str = connection.getpeername()[0]
        self._socket, self._header = connection, header
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox, self._outbox = bytearray(), bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def requests(self) -> Iterator[tuple[int, int, bytes]]:
        """Command number, id and payload of every request that has arrived whole."""
        self._receive()
        header, inbox = self._header, self._inbox
        while len(inbox) >= header.size:
            command, request_id, size = header.unpack_from(inbox)
            if not header.size <= size <= _MAX_REQUEST:
                self.gone = True  # whatever this is, it does not speak our language
                return
            if len(inbox) < size:
                return
            payload = bytes(inbox[header.size : size])
            del inbox[:size]
            yield command, request_id, payload

    def send(self, message: bytes) -> None:
        self._outbox += message
        self.flush()

    def flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self._socket.send(self._outbox)]
        except BlockingIOError:
            return
        except OSError:
            self.gone = True

    def hung_up(self) -> bool:
        """It has left, whether or not anybody has noticed yet."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.gone
        except OSError:
            return True

    def close(self) -> None:
        self.gone = True
        self._socket.close()

    def _receive(self) -> None:
        try:
            while chunk := self._socket.recv(_CHUNK):
                self._inbox += chunk
            self.gone = True  # an empty read: it has closed
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True


class Port:
    """A TCP listener with its UDP socket; a second client is turned away at the door."""

    def __init__(self, host: str, port: int, header: struct.Struct) -> None:
        """Raises DeviceError: the address is taken, or not on this machine."""
        self._header = header
        self.peer: Peer | None = None
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.udp.bind((host, 0))
            self._listener.bind((host, port))
        except OSError as error:
            raise DeviceError(
                f"cannot listen on {host}:{port} ({error.strerror}); another emulator? Give each "
                "arm a loopback address of its own: --host 127.0.0.3"
            ) from error
        self._listener.listen()
        self._listener.setblocking(False)
        self.udp.setblocking(False)

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> Peer | None:
        """A client that has just come, if any."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        if self.peer is not None and not self.peer.hung_up():
            connection.close()
            return None
        self.drop()
        self.peer = Peer(connection, self._header)
        return self.peer

    def drop(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.peer = None

    def say(self, datagram: bytes) -> None:
        """To the client, if it has told its port; a full buffer loses it, as UDP does."""
        peer = self.peer
        if peer is not None and peer.udp_port:
            with contextlib.suppress(OSError):
                self.udp.sendto(datagram, (peer.host, peer.udp_port))

    def heard(self, size: int) -> Iterator[bytes]:
        """Every datagram that has arrived."""
        try:
            while True:
                yield self.udp.recv(size)
        except OSError:
            return

    def close(self) -> None:
        self.drop()
        self._listener.close()
        self.udp.close()
