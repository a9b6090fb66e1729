"""What one training on judged answers works on."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.formatting.rendering.renderer import Renderer
from tasks.records.digests import digest_value
from tasks.training.job import TrainingJob
from tasks.training.objectives.answers import JudgedSplit


@dataclass(frozen=True, kw_only=True)
class PreferenceJob(TrainingJob):
    """A training on judged answers.

    Attributes:
        judged: The training answers.
        judged_validation: The validation answers, or None.
        renderer: What rendered them.
    """

    judged: JudgedSplit
    judged_validation: JudgedSplit | None
    renderer: Renderer

    @property
    def digest(self) -> str:
        """Digest of what determines the training, what was judged included."""
        validation = self.judged_validation.digest if self.judged_validation else None
        return digest_value([super().digest, self.judged.digest, validation])
