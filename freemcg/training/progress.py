"""The progress of a training over all its runs, and the settings that a later run may change."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freemcg.messages.errors import InvalidValue

if TYPE_CHECKING:
    from freemcg.training.settings import Training

MAY_CHANGE = (
    "steps",
    "batch_size",
    "learning_rate",
    "schedule",
    "decay",
    "checkpoint_every",
    "check_every",
    "patience",
    "samples_every",
)


@dataclass
class Progress:
    """The part of a checkpoint besides the weights.

    Attributes:
        step: the steps that are done.
        loss_curve: `[step, smoothed training loss]`.
        runs: what each run did: `from_step`, `to_step`, `seconds` and `changed`. The last holds the settings that
            differ from the run before, as `[before, now]`.
        checks: `step`, `mean` and `losses` of each check of the network that would be kept.
    """

    step: int = 0
    loss_curve: list[list[float]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The seconds of all runs together."""
        return round(sum(float(run["seconds"]) for run in self.runs), 1)

    def begin(self, changed: dict[str, list[Any]]) -> None:
        """Open the entry of a run."""
        self.runs.append({"from_step": self.step, "to_step": self.step, "seconds": 0.0, "changed": changed})

    def advance(self, seconds: float) -> None:
        """Count a step. `seconds` have passed since this run began."""
        self.step += 1
        self.runs[-1] |= {"to_step": self.step, "seconds": round(seconds, 1)}

    def check(self, losses: dict[str, float]) -> bool:
        """Record the losses of a check, and return whether their mean is the lowest so far."""
        mean = sum(losses.values()) / len(losses)
        self.checks.append({"step": self.step, "mean": mean, "losses": losses})
        return self.best_step == self.step

    @property
    def best_step(self) -> int:
        """The step of the first check with the lowest mean."""
        return int(min(self.checks, key=lambda check: check["mean"])["step"])

    def stalled(self, patience: int | None) -> bool:
        """Whether `patience` checks have passed without a new best. A run with changed settings counts from 0."""
        if patience is None or not self.checks:
            return False
        asked = max((run["from_step"] for run in self.runs if run["changed"]), default=0)
        since = max(int(asked), self.best_step)
        return sum(int(check["step"]) > since for check in self.checks) >= patience


def changed_settings(
    checkpoint: Path, made_with: dict[str, Any], settings: Training, step: int
) -> dict[str, list[Any]]:
    """The settings that differ from those of a checkpoint at `step`, by name, as `[before, now]`.

    Raises:
        ValueError: a setting outside `MAY_CHANGE` has changed, or more steps are done than the settings ask for.
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
