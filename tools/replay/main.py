"""`tandem replay RECORDING --part s1|executor|s2`: would it decide the same again?"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from tandem.tools.record.reader import Recording
from tandem.tools.replay.source import changes, settings_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def replay(
    recording: Annotated[
        Path, typer.Argument(metavar="RECORDING", help="A folder of .mcap files, or one file.")
    ],
    part: Annotated[
        Literal["s1", "executor", "s2"], typer.Option(help="Which part decides again.")
    ] = "s1",
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far numbers may be apart; 0: not a bit.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--config-override", help="key=value, e.g. s1.weights=new; repeatable."),
    ] = None,
) -> None:
    """Feed a recording through one part, with its timing, and compare what it decides.

    Ends with status 1 if any decision differs.
    """
    from tandem.tools.replay import executor, s1, s2

    parts = {"s1": s1.replay, "executor": executor.replay, "s2": s2.replay}
    recorded = Recording(recording)
    settings = settings_of(recorded, override or [])
    verdict = parts[part](recorded, settings, tolerance)
    verdict.notes += changes(recorded, settings)
    print(json.dumps(verdict.json()) if as_json else "\n".join(verdict.lines()))
    raise typer.Exit(1 if verdict.differences else 0)
