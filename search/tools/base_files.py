"""The files of XTTS-v2, pinned, what its licence says, and whether it is accepted."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from search.errors import UserError

AGREED = "COQUI_TOS_AGREED"  # coqui's own variable: TTS/utils/manage.py, `tos_agreed`


@dataclass(frozen=True)
class BaseFile:
    """A file as it must arrive."""

    name: str
    size: int  # bytes
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether `path` is this file, by size and digest. False where there is none; raises OSError otherwise."""
        if not path.exists() or path.stat().st_size != self.size:
            return False
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class PinnedBase:
    """A repository of the hub at one commit."""

    repository: str
    revision: str  # full commit hash
    files: tuple[BaseFile, ...]
    licence: str
    terms: tuple[str, ...]  # the licence in short, one line each

    @property
    def licence_url(self) -> str:
        return f"https://huggingface.co/{self.repository}/blob/{self.revision}/LICENSE.txt"


# docs/base_models.md names the source of each figure. Small files come first, so that a hub problem shows at once.
XTTS_V2 = PinnedBase(
    repository="coqui/XTTS-v2",
    revision="6c2b0d75eae4b7047358e3b6bd9325f857d43f77",  # 2023-12-11, release 2.0.3
    files=(
        BaseFile("LICENSE.txt", 4_014, "190f6d7c19b8984f91b97712b94ce92d2b2e640fc677dacab966e955ece9d043"),
        BaseFile("config.json", 4_368, "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8"),
        BaseFile("vocab.json", 361_219, "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a"),
        BaseFile("mel_stats.pth", 1_067, "1f69422a8a8f344c4fca2f0c6b8d41d2151d6615b7321e48e6bb15ae949b119c"),
        BaseFile("speakers_xtts.pth", 7_754_818, "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b"),
        BaseFile("dvae.pth", 210_514_388, "b29bc227d410d4991e0a8c09b858f77415013eeb9fba9650258e96095557d97a"),
        BaseFile("model.pth", 1_867_929_118, "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187"),
    ),
    licence="Coqui Public Model License 1.0.0 (CPML)",
    terms=(
        "Non-commercial use only, of the model, of models made from it, and of the speech they produce.",
        "Allowed: personal research, study and hobby; testing, evaluation and non-commercial research by companies;",
        "  a charity's own purposes. Not allowed: anything that brings direct or indirect payment or other revenue,",
        "  work funded directly by government grants, and training other models for commercial use.",
        "If you pass on the model, a changed model or its speech, pass on these terms or their URL too.",
        "The company no longer exists, so no commercial licence can be bought. This is a summary; the text decides.",
    ),
)


def acceptance(base: PinnedBase, flag: bool, ask: Callable[[], str] | None) -> str:
    """How the licence was accepted. Prints a summary of it first; raises UserError when it was not accepted.

    Args:
        flag: --accept-licence was given.
        ask: Returns what the user types when asked; None where nobody can be asked.
    """
    print(f"{base.repository} is under the {base.licence}. In short:", *base.terms, sep="\n  ")
    print(f"Full text: {base.licence_url}, and LICENSE.txt of the download.", flush=True)
    if flag or os.environ.get(AGREED) == "1":
        return "--accept-licence" if flag else f"{AGREED}=1"
    if ask is None or ask().strip().lower() != "yes":
        raise UserError(
            f"the {base.licence} of {base.repository}, for non-commercial use only, was not accepted, so nothing was"
            f" downloaded; read {base.licence_url} and accept it with --accept-licence or {AGREED}=1"
        )
    return "typed at a terminal"
