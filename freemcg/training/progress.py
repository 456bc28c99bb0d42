"""How far a training has come, over all runs that took part in it, and what a later run may do otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freemcg.refusal import InvalidValue

if TYPE_CHECKING:
    from freemcg.training.loop import Training

MAY_CHANGE = ("steps", "batch_size", "learning_rate", "schedule", "decay", "checkpoint_every")


@dataclass
class Progress:
    """What a checkpoint holds beside weights.

    Attributes:
        step: steps that are done.
        loss_curve: `[step, smoothed training loss]`.
        runs: what each run did: `from_step`, `to_step`, `seconds`, and `changed`, the settings that it had otherwise
            than the run before it, as `[before, now]`.
    """

    step: int = 0
    loss_curve: list[list[float]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of all runs together."""
        return round(sum(float(run["seconds"]) for run in self.runs), 1)

    def begin(self, changed: dict[str, list[Any]]) -> None:
        """Open the entry of a run."""
        self.runs.append({"from_step": self.step, "to_step": self.step, "seconds": 0.0, "changed": changed})

    def advance(self, seconds: float) -> None:
        """Count a step; `seconds` have gone by since this run began."""
        self.step += 1
        self.runs[-1] |= {"to_step": self.step, "seconds": round(seconds, 1)}


def changed_settings(
    checkpoint: Path, made_with: dict[str, Any], settings: Training, step: int
) -> dict[str, list[Any]]:
    """What `settings` have otherwise than those of a checkpoint at `step`: names to `[before, now]`.

    Raises:
        ValueError: a setting is changed that is none of `MAY_CHANGE`, or the steps are fewer than are done.
    """
    before, now = (json.loads(each.model_dump_json()) for each in (type(settings)(**made_with), settings))
    changed = {name: [before[name], value] for name, value in now.items() if before[name] != value}
    for name, (old, new) in changed.items():
        if name not in MAY_CHANGE:
            raise InvalidValue(
                f"{checkpoint} was made with {name} {old!r}, not {new!r}, and only {', '.join(MAY_CHANGE)} may change; "
                "give another --out, or delete it to start anew"
            )
    if settings.steps < step:
        raise InvalidValue(f"{checkpoint} is at step {step} already; ask for more than {settings.steps} steps")
    return changed
