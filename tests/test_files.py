"""A file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from wetread.files import replacing


def _killed(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "held-out.npz"
    with replacing(path) as file:
        file.write(b"old")
    with pytest.raises(KeyboardInterrupt):
        _killed(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
