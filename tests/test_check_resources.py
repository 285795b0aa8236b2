"""Whether memory, disk and processors suffice, by what a check was told of the machine."""

import dataclasses

import pytest

from search.check.machine import Gpu
from search.check.probe import Probe
from tests.surveys import GB, MACHINE, healthy, report, said


def test_memory_is_computed_and_set_against_the_gpu() -> None:
    made = report(healthy())
    assert made.memory is not None and made.memory.kind == "cuda"
    assert said(made, "computed, not measured")[0][0] == "info"
    small = dataclasses.replace(MACHINE, gpus=(MACHINE.gpus[0], Gpu("GPU of 8 GB", 8 * GB)))
    tight = report(healthy(), machine=small)
    assert said(tight, "of the 8.0 GB of GPU of 8 GB")[0][0] == "warning"
    shared = report(healthy(), study__workers=3)
    assert said(shared, "3 slots of")[0][0] == "warning"
    unknown = dataclasses.replace(MACHINE, gpus=(Gpu("MIG-1", 0),))
    assert said(report(healthy(), machine=unknown), "computed, not measured")[0][0] == "info"
    none = dataclasses.replace(MACHINE, gpus=())
    assert said(report(healthy(), machine=none), "no GPU: training takes about")[0][0] == "info"
    weak = dataclasses.replace(none, memory=8 * GB)
    assert said(report(healthy(), machine=weak), "no GPU: training takes about")[0][0] == "warning"


@pytest.mark.parametrize(
    ("peak", "largest", "more", "level", "words"),
    [
        (9 * GB, 8, False, "info", "takes 9.0 GB of the 24.0 GB of X, measured"),
        (9 * GB, 64, True, "info", "batches of up to at least 64 fit"),
        (None, 3, False, "error", "a batch of 8 does not fit into the 24.0 GB of X; 3 does, measured"),
        (None, 0, False, "error", "a batch of 8 does not fit"),
    ],
)
def test_what_was_measured_counts(peak: int | None, largest: int, more: bool, level: str, words: str) -> None:
    made = report(healthy(), probe=Probe("X", 24 * GB, 8, peak, largest, more))
    assert said(made, words)[0][0] == level
    assert said(made, "not measured") == []


def test_space_that_is_missing_is_an_error() -> None:
    full = dataclasses.replace(MACHINE, cache_free=GB // 10)
    assert said(report(healthy(), machine=full), "cache folder /cache has 0.1 GB free")[0][0] == "error"
    full = dataclasses.replace(MACHINE, study_free=GB // 10)
    assert said(report(healthy(), machine=full), "study.directory /study has 0.1 GB free")[0][0] == "error"
    # A vocabulary that grows needs a copy of the base.
    room = dataclasses.replace(MACHINE, cache_free=GB)
    assert said(report(healthy(), machine=room), "cache folder") == []
    assert said(report(healthy(), machine=room, missing=["ሰ"]), "cache folder")[0][0] == "error"


def test_cache_and_study_share_a_disk() -> None:
    shared = dataclasses.replace(MACHINE, cache_free=7 * GB, study_free=7 * GB, same_disk=True)
    made = report(healthy(), machine=shared, study__trials=100_000)
    assert said(made, "cache folder /cache has 7.0 GB free")[0][0] == "error"
    apart = report(healthy(), machine=dataclasses.replace(shared, same_disk=False), study__trials=100_000)
    assert said(apart, "cache folder") == [] and said(apart, "study.directory")[0][0] == "error"


def test_more_slots_than_processors() -> None:
    made = report(healthy(), study__workers=9)
    assert said(made, "9 slots on 8 processors")[0][0] == "warning"
    assert said(report(healthy(), study__workers=8), "slots on") == []
