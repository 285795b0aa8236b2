"""The tests that compute, as other processors would run them: `python -m tests.processors [--quick]`.

PyTorch, oneDNN, MKL and OpenBLAS choose their kernels by the processor's vector units, and can be told to pretend.
Prints a table of settings with the number of tests that passed and failed; ends with 1 if any failed.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICK = [f"tests/test_{name}.py" for name in "ties race fidelity miniature evaluation".split()]
SLOW = [f"tests/test_{name}.py" for name in "numerics parity recordings confirm".split()]
COMPUTING = [*QUICK, *SLOW, "benchmarks/tests/test_replay.py"]
ATEN = ["default", "avx2", "avx512"]  # ATEN_CPU_CAPABILITY
OPENBLAS = ["", "Haswell", "Zen", "Prescott"]  # OPENBLAS_CORETYPE; SkylakeX crashes where AVX-512 is missing
PLAINEST = {
    "ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott", "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_NUM_THREADS": "1",
}  # fmt: skip


def settings() -> list[dict[str, str]]:
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii")
    aten = [name for name in ATEN if name == "default" or name in flags]
    found = [
        {"ATEN_CPU_CAPABILITY": a, "OPENBLAS_CORETYPE": b, "OMP_NUM_THREADS": str(threads)}
        for a, b, threads in itertools.product(aten, OPENBLAS, (1, 2))
    ]
    return [*found, PLAINEST]


def run(setting: dict[str, str], files: list[str]) -> str:
    """The last line of pytest, and what failed."""
    environment = {**os.environ, **{name: value for name, value in setting.items() if value}}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return "; ".join([done.stdout.strip().splitlines()[-1], *failed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the quick tests, in the plainest setting")
    quick = parser.parse_args().quick
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        for setting in [PLAINEST] if quick else settings():
            result = run(setting, QUICK if quick else COMPUTING)
            bad |= "failed" in result or "error" in result
            print(" ".join(f"{name}={value}" for name, value in setting.items() if value), "|", result, flush=True)
    sys.exit(bad)


if __name__ == "__main__":
    main()
