"""A daemon whose executor is instrumented: `python -m … CONFIG WHAT`; else as `tandem run` has it.

Supervisor, plant and System 1 are the real ones, started the real way; only the executor's command
line names `instrumented` in front of the real role.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import uvloop
from tandem.runtime import config
from tandem.runtime.app.plan import stages
from tandem.runtime.children import Spec
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import TandemError
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.supervisor import Supervisor, install_signals
from tandem.tools.bench import children


def main(config_file: str, what: str) -> None:
    settings = config.load(config_file)
    folder = RuntimeFolder(settings.folder, settings.robot.name, config_file)
    try:
        planned = [
            [_instrumented(spec, what) for spec in s] for s in stages(settings, Path(config_file))
        ]
        uvloop.run(_serve(folder, planned, round(settings.executor.silent_ms * NS_PER_MS)))
    except TandemError as error:
        sys.exit(f"tandem: {error}")
    finally:
        folder.remove()


async def _serve(folder: RuntimeFolder, planned: list[list[Spec]], silent_ns: int) -> None:
    supervisor = Supervisor(folder, planned, lambda text: None, silent_ns)
    install_signals(asyncio.get_running_loop(), supervisor)
    await supervisor.run()


def _instrumented(spec: Spec, what: str) -> Spec:
    if spec.role != "executor":
        return spec
    _, _, _, role, file = spec.argv
    return replace(spec, argv=tuple(children.module("instrumented", what, role, file)))


if __name__ == "__main__":
    main(*sys.argv[1:])
