"""library: csrc, built for these tests (ours.py); court: ours, llhttp and h11."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "corpus")]  # for ours.py and its like, and test_corpus.read()

import ours  # noqa: E402
import run  # noqa: E402


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(shlex.split(os.environ.get("CC", "cc"))[0]) is None:
        pytest.skip("no C compiler here")
    return ours.build(tmp_path_factory.mktemp("differential"))


@pytest.fixture(scope="session")
def court(library: Path) -> run.Court:
    return run.Court(library)
