"""`tandem eval memory`: what, where and when, over fresh kitchens, in simulated time."""

import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from tandem.policies.memory.config import Refresh
from tandem.tools import output
from tandem.tools.memory import report
from tandem.tools.memory.runs import WEIGHTS, PolicyName, Tell, Wish, evaluate

_WIDTH = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    policy: Annotated[
        list[PolicyName] | None,
        typer.Option(help="repeatable; all four by default; sdvla-cut sees one frame at a time"),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="fresh kitchens, the same for all")] = 200,
    seed: Annotated[int | None, typer.Option(help="the same seed, the same kitchens")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    weights: Annotated[str, typer.Option(help="a shipped name or a file")] = WEIGHTS,
    refresh: Annotated[
        Refresh | None,
        typer.Option(help="of the static tokens; without it, as the weights were made for"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the result; - is stdout")
    ] = None,
) -> None:
    """Two cans that look the same: heat each for H seconds, then put it back where it was."""
    output.refuse_nowhere("--json", json)
    console = output.console(json, _WIDTH)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    wish = Wish(policy or list(PolicyName), episodes, seed, jobs, weights, refresh)
    runs = list(evaluate(wish, _teller(console)))
    console.print(report.table(runs, wish))
    for first in runs[:-1]:
        console.print(report.paired_line(first, runs[-1]))
    console.print(f"seed {seed}")
    output.write(report.as_json(runs, wish), json)


def _teller(console: Console) -> Tell:
    def tell(policy: str, done: int, total: int) -> None:
        if done % max(1, total // 5) == 0:
            console.print(f"{policy}: {done} of {total}")

    return tell


if __name__ == "__main__":
    app()
