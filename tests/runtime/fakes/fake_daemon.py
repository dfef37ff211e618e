"""A supervisor over two fake children in a process of its own: `python fake_daemon.py FOLDER`."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from tandem.runtime.children import Spec
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.supervisor import Supervisor, install_signals

FAKE = Path(__file__).parent / "fake_child.py"


async def daemon(folder: Path) -> None:
    specs = [
        Spec(role, (sys.executable, str(FAKE), str(folder), role, "good"), end_timeout_s=1.0)
        for role in ("sim", "executor")
    ]
    supervisor = Supervisor(RuntimeFolder(folder, "robot", "test.yaml"), [specs[:1], specs[1:]])
    install_signals(asyncio.get_running_loop(), supervisor)
    await supervisor.run()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # a Ctrl-C after the loop has closed
        asyncio.run(daemon(Path(sys.argv[1])))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
