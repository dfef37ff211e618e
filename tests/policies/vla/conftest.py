"""A folder of each kind, written once."""

from pathlib import Path

import pytest

from tests.policies.vla import checkpoints


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("vla")
    return {kind: checkpoints.save(kind, base / kind) for kind in checkpoints.KINDS}
