"""Which files XTTS-v2 consists of, pinned; what its licence says."""

from dataclasses import dataclass
from typing import Literal

# Who states a digest, and of which kind. The hub states SHA-256 of large files, and git's own SHA-1 of small ones.
Check = Literal["sha256, pinned", "sha256, stated by the hub", "git blob, stated by the hub"]


@dataclass(frozen=True)
class BaseFile:
    """A file as it must arrive."""

    name: str
    size: int  # bytes
    digest: str  # in hexadecimal
    check: Check = "sha256, pinned"


@dataclass(frozen=True)
class Manifest:
    """A repository of the hub at one commit."""

    repository: str
    revision: str  # full commit hash
    files: tuple[BaseFile, ...]
    licence: str
    terms: tuple[str, ...]  # the licence in short, a line each

    @property
    def licence_url(self) -> str:
        return f"https://huggingface.co/{self.repository}/blob/{self.revision}/LICENSE.txt"


# docs/base_models.md says where each figure comes from. Small files first: what is wrong with a hub shows at once.
XTTS_V2 = Manifest(
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
        "Only non-commercial use, of the model, of models made from it, and of the speech they produce.",
        "Allowed: personal research, study and hobby; testing, evaluation and non-commercial research by companies;",
        "  a charity's own purposes. Not allowed: whatever brings a direct or indirect payment or other revenue, also",
        "  projects funded by government grants directly, and training other models for commercial use.",
        "Whoever gets the model, a change of it or its speech from you must get these terms or their URL too.",
        "The company is gone, so no commercial licence can be bought. This is a summary; the text decides.",
    ),
)


def same_commit(text: str) -> bool:
    """Whether `text` is a full commit hash, which means the same for ever; a branch or a tag may move."""
    return len(text) == 40 and set(text) <= set("0123456789abcdef")
