"""The verbs for another terminal: go, hold, reset, stop, status. They find the running daemon."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tandem.runtime import config, folder
from tandem.runtime.bus import request
from tandem.runtime.errors import DeviceTimeoutError, RefusedError
from tandem.runtime.messages import Reply, Request, Verb

_POLL_S = 0.05
_GO_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 15.0
_RESET_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_NS = 3_000_000_000  # the supervisor asks the executor in turn
_ENGAGING = ("starting", "hold", "idle")  # starting: the executor has not been heard yet

Robot = Annotated[
    str, typer.Option("--robot", help="Which one, by its name, if several daemons run here.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
Text = Annotated[
    str, typer.Argument(help="What to do, in words. Empty: the instruction that stands.")
]


def find(robot: str = "") -> Path:
    """The runtime folder of the one daemon that runs here, or of the one that is called `robot`.

    Raises:
        RefusedError: none runs, or several do.
    """
    daemons = folder.running(config.base_folder())
    chosen = [d for d in daemons if robot in ("", d.holder.robot)]
    if len(chosen) == 1:
        return chosen[0].folder
    names = ", ".join(d.holder.robot for d in daemons)
    if not daemons:
        raise RefusedError("no daemon runs here; start one: tandem run sim_panda")
    if not chosen:
        raise RefusedError(f"no daemon called {robot} runs here; running: {names}")
    raise RefusedError(f"several daemons run here, say which with --robot NAME: {names}")


def ask(folder_: Path, verb: Verb, text: str = "", server: str = "supervisor") -> Reply:
    """Raises DeviceTimeoutError when nobody answers, RefusedError with the reason of a refusal."""
    question = Request(verb=verb, text=text, t_ns=time.monotonic_ns())
    reply = request(folder_, server, question, _ANSWER_TIMEOUT_NS)
    if not reply.ok:
        raise RefusedError(reply.text)
    return reply


def go(folder_: Path, text: str = "", timeout_s: float = _GO_TIMEOUT_S) -> dict[str, Any]:
    """Give the instruction and wait until the policy drives; returns the daemon's status then.

    Raises:
        RefusedError: the executor or a policy refuses, or it does not engage in time; the message
            is the reason.
    """
    ask(folder_, "go", text)
    deadline_s = time.monotonic() + timeout_s
    while True:
        status = ask(folder_, "status").data
        if status["mode"] == "policy":
            return status
        if status.get("refused"):
            ask(folder_, "hold", server="executor")  # or it would begin when nobody expects it
            raise RefusedError(f"not engaged: {status['refused']}")
        if status["mode"] not in _ENGAGING:
            raise RefusedError(
                f"not engaged: {status['mode']}, {status.get('fault') or 'no reason'}"
            )
        if time.monotonic() > deadline_s:
            reason = status.get("holding_for") or "no chunk of the policy has arrived"
            raise RefusedError(f"not engaged within {timeout_s:g} s: {reason}")
        time.sleep(_POLL_S)


def reset(folder_: Path, timeout_s: float = _RESET_TIMEOUT_S) -> None:
    """Clear a fault or a stop, and wait until the arm is held again.

    Raises:
        RefusedError: the cause stands, or the arm did not recover; the message is the reason.
    """
    ask(folder_, "reset", server="executor")
    deadline_s = time.monotonic() + timeout_s
    while (status := ask(folder_, "status").data)["mode"] in ("fault", "idle"):
        if time.monotonic() > deadline_s:
            raise RefusedError(f"not reset: {status.get('fault') or status.get('holding_for')}")
        time.sleep(_POLL_S)


def stop(folder_: Path, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Brake at once, straight at the executor; then let the supervisor end everything."""
    try:
        ask(folder_, "stop", server="executor-stop")
    except DeviceTimeoutError:
        print("the executor does not answer; its arm stops by its own watchdog")
    ask(folder_, "stop")
    deadline_s = time.monotonic() + timeout_s
    while any(d.folder == folder_ for d in folder.running(folder_.parent)):
        if time.monotonic() > deadline_s:
            raise RefusedError(f"still running after {timeout_s:g} s; see tandem status")
        time.sleep(_POLL_S)


def describe(status: dict[str, Any]) -> str:
    """A status for people."""
    lines = [
        f"mode         {status['mode']}{_because(status)}",
        f"instruction  {status['instruction'] or 'none yet'}",
        f"fault        {status['fault'] or 'none'}",
    ]
    for role, child in status["children"].items():
        again = f", start {child['starts']}" if child["starts"] > 1 else ""
        lines.append(f"{role:12} {child['state']}, pid {child['pid']}{again}")
        lines += [f"{'':12}   {key}: {value}" for key, value in child["facts"].items()]
    return "\n".join(lines)


def _because(status: dict[str, Any]) -> str:
    return f" ({status['holding_for']})" if status.get("holding_for") else ""


def register(app: typer.Typer) -> None:
    @app.command("go")
    def go_(text: Text = "", robot: Robot = "") -> None:
        """Give an instruction and engage: tandem go "put the blue cube into the bin"."""
        status = go(find(robot), text)
        print(f"engaged: {status['instruction']}")

    @app.command()
    def hold(robot: Robot = "") -> None:
        """Come to rest and hold; go on with `tandem go`."""
        print(ask(find(robot), "hold", server="executor").text or "holding")

    @app.command("reset")
    def reset_(robot: Robot = "") -> None:
        """Clear a latched fault, a reflex of the arm included; refused while its cause stands."""
        reset(find(robot))
        print("reset: the arm is held")

    @app.command("stop")
    def stop_(robot: Robot = "") -> None:
        """Come to rest, then end the daemon."""
        stop(find(robot))
        print("stopped")

    @app.command()
    def status(robot: Robot = "", as_json: AsJson = False) -> None:
        """What the daemon is doing."""
        answer = ask(find(robot), "status").data
        print(json.dumps(answer, indent=2) if as_json else describe(answer))
