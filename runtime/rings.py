"""Shared-memory rings: one writer, any number of readers, no process ever waits for another.

A ring is a memory-mapped file of N fixed slots, each under a sequence lock. The lock word also says
which record the slot holds: `2·seq + 1` while record `seq` is being written, `2·seq + 2` once it
is whole. A reader copies a slot out and looks at the lock again; if it changed, the copy is torn
and thrown away.

Why this is safe without fences, which Python does not have:
- each lock, stamp and count is one aligned 8-byte word, stored and loaded by one instruction;
- x86-64 keeps stores in program order and loads in program order (TSO), and glibc's large copies
  end with a store fence: lock odd, payload, lock even, count become visible in exactly that order.
  No compiler moves anything across the calls that Python bytecode makes;
- on machines with weaker order (`checked`, the default there) each slot also carries a CRC-32 of
  its record, and a copy that does not match it counts as torn.

A writer that comes back after a crash makes a new file, marks the old one as superseded and renames
the new one over it. Readers see the mark and attach again; record numbers go on counting. An old
writer that was only frozen writes on into a file that nobody reads any more: it is fenced off. One
that dies halfway through a record leaves a slot odd that no count ever named.
"""

import platform
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from tandem.runtime.ring_file import (
    CRC,
    LOCK,
    STAMP,
    Layout,
    Mapping,
    attach,
    create,
    inode,
    next_seq,
)

_TRIES = 64


@dataclass(frozen=True)
class Record:
    """One payload out of a ring: a copy that nobody overwrites."""

    payload: np.ndarray
    t_ns: int
    seq: int


class SharedRing(Layout):
    """Where a ring lies and what is in it: `writer()` makes it, `reader()` may come before it."""

    def writer(self) -> "RingWriter":
        return RingWriter(self)

    def reader(self) -> "RingReader":
        return RingReader(self)


def _record_crc(seq: int, t_ns: int, payload: np.ndarray) -> int:
    stamp = seq.to_bytes(8, "little") + t_ns.to_bytes(8, "little", signed=True)
    return zlib.crc32(np.ascontiguousarray(payload).view(np.uint8).data, zlib.crc32(stamp))


class RingWriter:
    """The one writer of a ring: `slot()` to fill in place, then `commit(t_ns)`.

    Raises:
        ConfigError: the directory is missing, not writable or full.
    """

    def __init__(self, ring: SharedRing) -> None:
        weak_order = platform.machine() not in ("x86_64", "AMD64")
        self._ring = ring
        checked = weak_order if ring.checked is None else ring.checked
        self._seq = next_seq(ring.path)
        self._map = create(ring, checked, self._seq)

    @property
    def seq(self) -> int:
        """The number that the next record will get."""
        return self._seq

    def fenced(self) -> bool:
        """Another writer has taken this ring's place: nobody reads what is written here."""
        return inode(self._ring.path) != self._map.inode

    def slot(self) -> np.ndarray:
        """The next slot's payload [*shape], to be filled in place; nobody reads it until commit."""
        self._map.words[self._map.base(self._seq) + LOCK] = 2 * self._seq + 1
        return self._map.payload(self._seq)

    def commit(self, t_ns: int) -> int:
        """Publish what was filled in; returns its number."""
        seq, words, base = self._seq, self._map.words, self._map.base(self._seq)
        words[base + STAMP] = t_ns
        if self._map.checked:
            words[base + CRC] = _record_crc(seq, t_ns, self._map.payload(seq))
        words[base + LOCK] = 2 * seq + 2
        self._map.count = seq + 1
        self._seq = seq + 1
        return seq

    def write(self, t_ns: int, payload: Any) -> int:
        """Copy `payload` into the next slot and publish it."""
        self.slot()[...] = payload
        return self.commit(t_ns)


class RingReader:
    """Reads a ring that may not exist yet and whose writer may die and come back.

    `torn` counts copies that were thrown away, `generation` how often a writer was attached to.
    """

    def __init__(self, ring: SharedRing) -> None:
        self._ring = ring
        self._map: Mapping | None = None
        self._looked_at = -1
        self.torn = 0
        self.generation = 0

    @property
    def count(self) -> int:
        """Records ever written: the newest is `count - 1`; 0 while there is no writer."""
        mapping = self._attached()
        return mapping.count if mapping else 0

    def latest(self) -> Record | None:
        """Copy out the newest record; None while there is none.

        Raises:
            WireError: the file is a ring of another shape, type or version.
        """
        mapping = self._attached()
        if mapping is None:
            return None
        for _ in range(_TRIES if mapping.count else 0):
            record = self._copy(mapping, mapping.count - 1)
            if record is not None:
                return record
        return None

    def at(self, seq: int) -> Record | None:
        """Record `seq`, or None if it is not there yet or was overwritten."""
        mapping = self._attached()
        return self._copy(mapping, seq) if mapping else None

    def since(self, seq: int) -> list[Record]:
        """Every record newer than `seq` that is still in the ring, oldest first."""
        mapping = self._attached()
        if mapping is None:
            return []
        count = mapping.count
        wanted = range(max(seq + 1, count - mapping.slots), count)
        copies = (self._copy(mapping, number) for number in wanted)
        return [record for record in copies if record is not None]

    def history(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Everything in the ring at once, oldest first: seq [N], t_ns [N], payload [N, *shape]."""
        records = self.since(-1)
        seq = np.array([r.seq for r in records], np.int64)
        t_ns = np.array([r.t_ns for r in records], np.int64)
        payload = np.empty((len(records), *self._ring.shape), self._ring.dtype)
        for row, record in enumerate(records):
            payload[row] = record.payload
        return seq, t_ns, payload

    def _copy(self, mapping: Mapping, seq: int) -> Record | None:
        if seq < 0:
            return None
        words, base, whole = mapping.words, mapping.base(seq), 2 * seq + 2
        if words[base + LOCK] != whole:
            return None
        t_ns, crc = words[base + STAMP], words[base + CRC]
        payload = mapping.copied(seq)
        broken = mapping.checked and crc != _record_crc(seq, t_ns, payload)
        if words[base + LOCK] != whole or broken:
            self.torn += 1
            return None
        return Record(payload, t_ns, seq)

    def _attached(self) -> Mapping | None:
        """The mapping to read from. Only when nothing new has come is the file itself looked at."""
        mapping = self._map
        if mapping is not None and mapping.count != self._looked_at and not mapping.superseded:
            self._looked_at = mapping.count
            return mapping
        found = inode(self._ring.path)
        if found is not None and (mapping is None or found != mapping.inode):
            self._map = mapping = attach(self._ring)
            self._looked_at = mapping.count if mapping else -1
            self.generation += 1
        return mapping
