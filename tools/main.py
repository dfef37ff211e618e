"""The `tandem` command: one verb a file, each imported only when it is called.

`tandem status` must answer at once on a busy robot, so nothing here imports physics or networks.
"""

import importlib
import os
import sys
from collections.abc import Sequence

import typer
from tandem.runtime.errors import TandemError
from tandem.tools import control

# verb → (module, help). Each module has a `typer.Typer` called `app`.
_HEAVY = {
    "run": ("tandem.tools.run", "Run a robot: start its processes, hold, wait for a task."),
    "teleop": ("tandem.tools.teleop.main", "Drive the arm by hand; where the policy cannot go on."),
    "console": ("tandem.tools.console.main", "Latency and jitter of a running daemon, live."),
    "doctor": ("tandem.tools.doctor.main", "What of this machine would hurt, and the cure."),
    "train": ("tandem.tools.train.main", "Make the shipped weights from nothing."),
    "eval": ("tandem.tools.evaluate.main", "Success in closed loop, over fresh scenes."),
    "train gate": ("tandem.tools.train.s2_recipe", "Only the recache gate of System 2, anew."),
    "train lac": ("tandem.tools.train.lac", "A rival of the gate, for the same System 2."),
    "train memory": ("tandem.tools.memory.train", "Make the weights that remember."),
    "train thresholds": ("tandem.tools.train.thresholds", "Of the gate, for a refresh rate."),
    "eval gate": ("tandem.tools.evaluate.gate", "Does the gate see what changed, and only that?"),
    "eval memory": ("tandem.tools.memory.main", "What, where, when: tasks that need a past."),
    "replay": ("tandem.tools.replay.main", "Would it decide the same again? A recording tells."),
    "export": ("tandem.tools.export.main", "A recording as a LeRobot dataset or a trace."),
    "feetech-emulator": ("tandem.tools.feetech_emulator.main", "An SO-101's bus, without it."),
    "fci-emulator": ("tandem.tools.fci_emulator.main", "A Franka for client libraries to meet."),
    "bench": ("tandem.tools.bench.main", "Measure jitter, latency and cost on this machine."),
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tandem runs a robot with two brains: one that understands, one that moves.",
)


def _listed(verb: str, text: str) -> None:
    """A line in `tandem --help`; `main` calls the verb's own module before it gets here."""
    app.command(verb, help=text)(lambda: None)


for _verb, (_, _text) in _HEAVY.items():
    _listed(_verb, _text)
control.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Errors that Tandem raises on purpose are told in words, without a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except TandemError as error:
        print(f"tandem: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `tandem status | head`: nobody reads on, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> None:
    count = 2 if " ".join(words[:2]) in _HEAVY else 1  # "eval memory" before "eval"
    verb = " ".join(words[:count])
    if verb in _HEAVY:
        module = importlib.import_module(_HEAVY[verb][0])
        module.app(args=words[count:], prog_name=f"tandem {verb}")
    else:
        app(args=words, prog_name="tandem")


if __name__ == "__main__":
    main()
