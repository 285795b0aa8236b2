"""`study.py` in the process of the test, with all that it writes to its file descriptors."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study import main

StudyPy = Callable[..., tuple[int, str, str]]


TRIALS = "truncation = 0.2\nevaluations = 10\n"  # as `tests.studies.miniature` has them


def in_process(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    """Called with arguments in `folder`: (exit code, stdout, stderr). Stdout, which `--json` redirects, is restored."""
    (folder / "study.toml").write_text(f'[study]\ndirectory = "."\n[training]\n{TRIALS}')
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()  # what the test itself has caused
        monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
        stdout = os.dup(1)
        try:
            with monkeypatch.context() as put, open(1, "w", closefd=False) as out:
                put.setattr(sys, "stdout", out)  # capfd's own goes round the descriptor
                with pytest.raises(SystemExit) as ended:
                    main()
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call
