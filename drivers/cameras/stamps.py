"""A device's clock on ours: CLOCK_MONOTONIC of a frame, from the device's stamp and its arrival.

Frames arrive late, some later than others, and none early: among the differences between arrival
and stamp the smallest is nearest to the truth (the filter that NTP uses). It is taken over some
seconds, as the device's crystal and ours drift apart. What all frames wait for alike, the exposure
and the way over the cable, cannot be seen from here: that is the latency that a configuration
declares.

How far the result may be off is told with it: by what two crystals can drift apart within the
window, and by how much the fastest frame of one second differs from that of another.
"""

from collections import deque

from tandem.runtime.clock import NS_PER_S

_BUCKET_NS = NS_PER_S
_BUCKETS = 8
_DRIFT_PPM = 100  # of two cheap crystals
_JUMP_NS = NS_PER_S


class DeviceClock:
    """One device since it was opened; a clock that jumps (it was reset) starts it anew."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque(maxlen=_BUCKETS)  # bucket, smallest difference
        self._device_ns = self._arrival_ns = 0
        self._most_ns = 0  # largest difference
        self.jumps = 0

    def mapped(self, device_ns: int, arrival_ns: int) -> int:
        """When a frame that carries `device_ns` would have arrived had it been the fastest one."""
        late_ns = arrival_ns - device_ns
        if self._least and self._jumped(device_ns, arrival_ns):
            self._least.clear()
            self.jumps += 1
        self._device_ns, self._arrival_ns = device_ns, arrival_ns
        self._most_ns = max(self._most_ns, late_ns) if self._least else late_ns
        self._take(arrival_ns // _BUCKET_NS, late_ns)
        return device_ns + min(least for _, least in self._least)

    @property
    def error_ns(self) -> int | None:
        """Largest error of the offset; None before the first frame.

        In the first two seconds all that is known is the worst delay seen.
        """
        if not self._least:
            return None
        fastest = [least for _, least in self._least]
        settled = fastest[:-1]  # the newest second has not seen its fastest frame yet
        seconds = self._least[-1][0] - self._least[0][0] + 1
        drift_ns = seconds * _BUCKET_NS * _DRIFT_PPM // 1_000_000
        slowest = max(settled) if len(settled) > 1 else self._most_ns
        return slowest - min(fastest) + drift_ns

    def _jumped(self, device_ns: int, arrival_ns: int) -> bool:
        went_ns, passed_ns = device_ns - self._device_ns, arrival_ns - self._arrival_ns
        return went_ns < 0 or abs(went_ns - passed_ns) > _JUMP_NS

    def _take(self, bucket: int, late_ns: int) -> None:
        if self._least and self._least[-1][0] == bucket:
            late_ns = min(late_ns, self._least[-1][1])
            self._least.pop()
        self._least.append((bucket, late_ns))
