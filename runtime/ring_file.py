"""The file under a shared-memory ring: a header page that describes it, then slots.

Header: magic, CRC-32, a JSON text (version, generation, shape, dtype, slots, checked), and at its
end two words in cache lines of their own: `superseded` and `count`. A slot is one cache line (lock,
stamp, CRC) and the payload. `rings.py` says how slots are written and read.
"""

import json
import mmap
import os
import secrets
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tandem.runtime.errors import ConfigError, WireError

MAGIC = b"TANDEMR\n"
VERSION = 1
LOCK, STAMP, CRC = 0, 1, 2  # words of a slot's header
_HEADER_BYTES = 4096
_COUNT_WORD = _HEADER_BYTES // 8 - 8
_SUPERSEDED_WORD = _COUNT_WORD - 8
_CRC_AT, _TEXT_AT, _TEXT_END = len(MAGIC), len(MAGIC) + 8, 8 * _SUPERSEDED_WORD
_SLOT_HEADER_BYTES = 64


@dataclass(frozen=True)
class Layout:
    """Where a ring lies and what is in it. `dtype` may be structured; a few slots make sense.

    `checked`: every record carries a CRC-32 (None: only where the machine's memory order needs it).
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slots: int = 8
    checked: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if self.slots < 2 or self.dtype.hasobject or self.payload_bytes == 0:
            raise ValueError("a ring needs two slots or more, and a payload that is plain bytes")

    @property
    def payload_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def stride_bytes(self) -> int:
        return _SLOT_HEADER_BYTES + -(-self.payload_bytes // 64) * 64

    @property
    def file_bytes(self) -> int:
        return _HEADER_BYTES + self.slots * self.stride_bytes


class Mapping:
    """The words and payloads of one mapped file."""

    def __init__(self, ring: Layout, fd: int, writable: bool, checked: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        # Populated now, so that no page fault waits inside a real-time tick.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        memory = mmap.mmap(fd, ring.file_bytes, flags=flags, prot=protection)
        self.inode = os.fstat(fd).st_ino
        self.checked = checked
        self.slots = ring.slots
        self.stride_words = ring.stride_bytes // 8
        self.words = memoryview(memory).cast("q")
        inner = np.empty(ring.shape, ring.dtype).strides
        self.payloads: np.ndarray = np.ndarray(
            (ring.slots, *ring.shape),
            ring.dtype,
            memory,
            _HEADER_BYTES + _SLOT_HEADER_BYTES,
            (ring.stride_bytes, *inner),
        )
        # Records with fields are copied whole, as bytes: field by field takes ten times as long.
        opaque = np.dtype((np.void, ring.dtype.itemsize)) if ring.dtype.fields else ring.dtype
        self._dtype, self._opaque = ring.dtype, self.payloads.view(opaque)

    @property
    def count(self) -> int:
        """Records ever written: the newest is `count - 1`."""
        return self.words[_COUNT_WORD]

    @count.setter
    def count(self, value: int) -> None:
        self.words[_COUNT_WORD] = value

    @property
    def superseded(self) -> bool:
        """A newer writer is taking, or has taken, this file's place."""
        return self.words[_SUPERSEDED_WORD] != 0

    def base(self, seq: int) -> int:
        """Index of the first header word of the slot for record `seq`."""
        return _HEADER_BYTES // 8 + (seq % self.slots) * self.stride_words

    def payload(self, seq: int) -> np.ndarray:
        view: np.ndarray = self.payloads[seq % self.slots, ...]
        return view

    def copied(self, seq: int) -> np.ndarray:
        """A copy of the same payload, which nobody overwrites."""
        return self._opaque[seq % self.slots, ...].copy().view(self._dtype)


def inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _header(ring: Layout, checked: bool) -> bytes:
    what = {
        "version": VERSION,
        "generation": secrets.token_hex(4),
        "shape": ring.shape,
        "dtype": np.lib.format.dtype_to_descr(ring.dtype),
        "slots": ring.slots,
        "checked": checked,
    }
    text = json.dumps(what).encode()
    if len(text) > _TEXT_END - _TEXT_AT:
        raise ValueError("the ring's dtype is too long to describe in its header")
    text = text.ljust(_TEXT_END - _TEXT_AT, b"\0")
    return MAGIC + zlib.crc32(text).to_bytes(8, "little") + text


def create(ring: Layout, checked: bool, first_seq: int) -> Mapping:
    """Make the file under another name and rename it into place, whole."""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{ring.path.name}.", dir=ring.path.parent)
        try:
            # Reserved for real: a full /dev/shm must fail here, not as a SIGBUS in a loop.
            os.posix_fallocate(fd, 0, ring.file_bytes)
            os.pwrite(fd, _header(ring, checked), 0)
            mapping = Mapping(ring, fd, writable=True, checked=checked)
            mapping.count = first_seq
            _mark_superseded(ring.path)
            os.replace(temporary, ring.path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(
            f"cannot make the ring {ring.path} ({ring.file_bytes >> 10} KiB): {error}; "
            "free space there (df), or set runtime_dir to a writable directory on a tmpfs"
        ) from error
    return mapping


def _mark_superseded(path: Path) -> None:
    """Tell readers of the old file to look for the new one, even while its writer still writes."""
    if _read_header(path) is None:
        return
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, (1).to_bytes(8, "little"), 8 * _SUPERSEDED_WORD)
    finally:
        os.close(fd)


def _read_header(path: Path) -> tuple[dict[str, Any], int, int] | None:
    """What the header says, the count of records, the file's size; None if it is no whole ring."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    crc, text = head[_CRC_AT:_TEXT_AT], head[_TEXT_AT:_TEXT_END]
    if len(head) < _HEADER_BYTES or not head.startswith(MAGIC):
        return None
    if zlib.crc32(text) != int.from_bytes(crc, "little"):
        return None
    count = int.from_bytes(head[8 * _COUNT_WORD : 8 * _COUNT_WORD + 8], "little")
    return json.loads(text.rstrip(b"\0")), count, size


def next_seq(path: Path) -> int:
    """Numbers go on where the writer before stopped, so that old is never taken for new."""
    found = _read_header(path)
    return found[1] if found else 0


def attach(ring: Layout) -> Mapping | None:
    """Map an existing ring for reading; None if it vanished meanwhile.

    Raises:
        WireError: it is not a ring, or one of another shape, type or version.
    """
    if not ring.path.exists():
        return None
    found = _read_header(ring.path)
    if found is None:
        raise WireError(f"{ring.path} is not a ring; remove it and restart its writer")
    what, _, size = found
    mine = json.loads(_header(ring, False)[_TEXT_AT:].rstrip(b"\0"))
    differing = [k for k in ("version", "shape", "dtype", "slots") if what.get(k) != mine[k]]
    if differing or size < ring.file_bytes:
        theirs = {k: what.get(k) for k in differing} or f"{size} bytes"
        ours = {k: mine[k] for k in differing}
        raise WireError(
            f"{ring.path} holds {theirs}, this reader expects {ours}; "
            "restart both sides from the same configuration"
        )
    fd = os.open(ring.path, os.O_RDONLY)
    try:
        return Mapping(ring, fd, writable=False, checked=bool(what["checked"]))
    finally:
        os.close(fd)
