"""What two training steps on a GPU showed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """Peak memory of two steps on the largest possible batch, measured by the allocator of the device."""

    device: str  # its name
    total: int  # bytes that the device has
    batch_size: int  # of the settings
    peak: int | None  # bytes at that batch size; None: out of memory
    largest: int  # batch size that was measured to fit; 0: none does
    more: bool  # whether larger ones than `largest` were left untried

    @property
    def fits(self) -> bool:
        return self.peak is not None
