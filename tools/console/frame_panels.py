"""What frames the figures: the robot at the top, events and keys at the bottom, and the help."""

from tandem.tools.console import ink
from tandem.tools.console.figures import Snapshot
from tandem.tools.console.ink import Line
from tandem.tools.console.loops_panel import WIDE

HELP = (
    ("q", "quit; the robot does not notice"),
    ("p", "pause the picture; listening goes on"),
    ("w", "narrow screens: last 10 s, or all since attaching"),
    ("1 … 9", "one loop in full, with its histograms; Esc leads back"),
    ("?", "this page"),
    ("", ""),
    ("lateness", "wake-up of a tick minus its due time; yellow at half a period"),
    ("work", "from wake-up to the end of the tick; yellow at 80 % of the period"),
    ("miss", "ticks skipped since the loop began; yellow: some in 10 s"),
    ("rt", "F80: real time, FIFO 80; n10: nice 10; none: asked for and refused"),
    ("µ m s", "microseconds, milliseconds, seconds"),
    ("command", "the budget is the age at which the executor begins to slow down"),
    ("acted on", "age of the image behind the command that is being applied"),
    ("gate", "recache score of each static level, and its threshold"),
    ("fresh", "refreshes of each level, of so many frames; saved: multiply-adds"),
    ("seam", "largest step of the commands where one chunk follows another"),
)
WARNING = "Not a safety function: keep the enabling switch and the emergency stop in hand."


def head(snapshot: Snapshot, width: int, paused: bool = False) -> list[Line]:
    """Two lines: who and what; then what stands in its way."""
    robot = snapshot.robot
    right: Line = [("paused  ", "warn")] if paused else []
    right.append((_presence(snapshot), "error" if snapshot.presence == "gone" else "dim"))
    if snapshot.presence == "waiting":
        left: Line = [(" tandem ", "title"), (snapshot.name, "bold")]
        text = f" {snapshot.note}; it will appear here once it does: tandem run …"
        return [ink.apart(left, right, width), ink.fit([(text, "warn")], width)]
    pace = f" {robot.pace:.0%}" if robot.mode == "policy" and robot.pace < 0.995 else ""
    doubt = "?" if robot.mode and not robot.fresh and snapshot.presence == "attached" else ""
    mode = f"{robot.mode.upper() or 'NO STATE YET'}{doubt}{pace}"
    health = "off" if snapshot.presence == "gone" else robot.health
    words = f"  “{robot.instruction}”" if robot.instruction else "  no instruction"
    left = [(f" {snapshot.name}  ", "bold"), (mode, f"mode-{health}"), (words, "")]
    return [ink.apart(left, right, width), _second(snapshot, width)]


def _presence(snapshot: Snapshot) -> str:
    since = _since(snapshot.since_s)
    known = {
        "waiting": f"waiting {since} ",
        "attached": f"attached {since} ",
        "gone": f"gone since {since} ",
    }
    return known[snapshot.presence]


def _since(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _second(snapshot: Snapshot, width: int) -> Line:
    robot = snapshot.robot
    if snapshot.presence == "gone":
        text = f" the daemon (pid {snapshot.pid}) is gone; below is what it said last"
        return ink.fit([(text, "error")], width)
    right: Line = [(f"  epoch {robot.epoch}", "dim")]
    if robot.state_age_ms is not None:
        silent = (f"  silent for {robot.state_age_ms / 1e3:.1f} s ", "error")
        right.append((f"  state {robot.state_rate_hz:.0f} Hz ", "dim") if robot.fresh else silent)
    left: Line = [(" no fault", "dim")]
    if robot.fault:
        left = [(f" FAULT {robot.fault}", "error")]
    if robot.holding_for:
        left.append((f"  {robot.holding_for}", "warn" if robot.health != "ok" else ""))
    operator = f"operator {robot.operator}" if robot.operator else "no operator"
    left.append((f"  {operator}", "accent" if robot.operator else "dim"))
    return ink.apart(left, right, width)


def events(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    lines = [ink.rule("events, newest first", width)]
    if not snapshot.events:
        lines.append(ink.fit([("  none since attaching", "dim")], width))
    for said in snapshot.events[: max(height - 1, 0)]:
        style = "dim" if said.level == "info" else said.level
        when = f"{said.age_s:.1f} s" if said.age_s < 100 else _since(said.age_s)
        line = [(f" {when:>7}  ", "dim"), (f"{said.source[:10]:10} {said.level:5} ", style)]
        lines.append(ink.fit([*line, (said.text, "" if said.level == "info" else style)], width))
    return lines


def foot(snapshot: Snapshot, width: int, attached: bool, focused: int) -> list[Line]:
    cost = snapshot.machine.console_cpu
    keys = f"1-{min(len(snapshot.loops), 9)}" if snapshot.loops else "1-9"
    pairs = [("q", "quit"), ("?", "help"), ("p", "pause"), (keys, "loop")]
    if width < WIDE:  # else both are shown
        pairs.insert(3, ("w", "last 10 s" if attached else "since attach"))
    if focused:
        pairs.append(("esc", "back"))
    left: Line = []
    for key, what in pairs:
        left += [(f" {key} ", "key"), (f"{what} ", "dim")]
    right = "" if cost is None else f"console {cost:.0%} cpu "
    return [ink.apart(left, [(right, "dim")], width)]


def help_page(width: int) -> list[Line]:
    lines = [ink.rule("help", width)]
    lines += [[(f" {key:>9}  ", "key" if key else ""), (what, "")] for key, what in HELP]
    lines += [[], [(f" {WARNING}", "warn")]]
    return [ink.fit(line, width) for line in lines]
