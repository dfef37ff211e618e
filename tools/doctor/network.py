"""The way to a robot or a policy on another machine: route, packet size, round trips."""

import re
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tandem.tools.doctor.finding import Finding, advice, ok, wrong

_PINGS = 200
_PING_PERIOD_S = 0.01
_CLEAN_MTU = 1500
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Way:
    """Round trips in ms, sorted; `sent` of them were tried. `interface` empty: not known."""

    host: str
    interface: str = ""
    mtu: int = 0
    wireless: bool = False
    sent: int = 0
    rtt_ms: tuple[float, ...] = ()
    problem: str = ""
    unmeasured: str = ""


def measure(host: str, root: Path = Path("/")) -> Way:
    """Ping it for two seconds."""
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        return Way(host, problem=f"has no address: {error.strerror or error}")
    interface = _interface(address, root)
    net = root / "sys/class/net" / interface
    mtu = int((net / "mtu").read_text()) if interface and (net / "mtu").exists() else 0
    if shutil.which("ping") is None:
        return Way(host, interface, mtu, unmeasured="ping is not installed")
    rtt_ms, problem = _ping(address)
    wireless = bool(interface) and (net / "wireless").exists()
    return Way(host, interface, mtu, wireless, _PINGS, tuple(sorted(rtt_ms)), problem)


def way(facts: Way, limit_ms: float) -> Finding:
    """`limit_ms`: what the 99th of a hundred round trips may take."""
    name = f"network to {facts.host}"
    if facts.unmeasured:
        return advice(
            name,
            f"not measured: {facts.unmeasured}",
            "a slow or lossy way to the robot shows only when it moves",
            "sudo apt-get install iputils-ping",
        )
    if facts.problem:
        return wrong(name, facts.problem, "it cannot be reached", "check host, cable and route")
    if not facts.rtt_ms:
        return wrong(name, "no answer", "it cannot be reached", f"ping {facts.host}; ip route")
    lost = facts.sent - len(facts.rtt_ms)
    p99_ms = facts.rtt_ms[min(int(0.99 * len(facts.rtt_ms)), len(facts.rtt_ms) - 1)]
    found = f"{facts.interface or 'route unknown'}, rtt p99 {p99_ms:.2f} ms, lost {lost}"
    if facts.wireless:
        return wrong(
            name,
            f"{found}, wireless",
            "radio stalls for tens of ms at any moment",
            "use a cable, straight to the robot, on an interface of its own",
        )
    if lost or p99_ms > limit_ms:
        return wrong(
            name,
            f"{found} (at most {limit_ms:g} ms, none lost)",
            "a command that comes late is one that the arm does without",
            "a cable straight to the robot; sudo ethtool -C INTERFACE rx-usecs 0",
        )
    if 0 < facts.mtu < _CLEAN_MTU:
        return advice(
            name,
            f"{found}, MTU {facts.mtu}",
            "a state or an image is cut in pieces, each with its own chance of being late",
            f"sudo ip link set {facts.interface} mtu 1500",
        )
    return ok(name, found)


def _interface(address: str, root: Path) -> str:
    """Of the most specific route that leads there."""
    wanted = struct.unpack("<I", socket.inet_aton(address))[0]
    if address.startswith("127."):
        return "lo"
    best, bits = "", -1
    try:
        lines = (root / "proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return ""
    for line in lines:
        name, to, _, _, _, _, _, mask = line.split()[:8]
        length = int(mask, 16).bit_count()
        if wanted & int(mask, 16) == int(to, 16) and length > bits:
            best, bits = name, length
    return best


def _ping(address: str) -> tuple[list[float], str]:
    """([ms], why it could not be tried)."""
    words = ["ping", "-n", "-c", str(_PINGS), "-i", str(_PING_PERIOD_S), "-W", "1", address]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [], "no answer"
    times = [float(ms) for ms in re.findall(r"time=([\d.]+) ms", ended.stdout)]
    if not times and ended.stderr.strip():
        return [], ended.stderr.strip().splitlines()[-1]
    return times, ""
