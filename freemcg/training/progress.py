"""How far a training has come, over all runs that took part in it, and what a later run may do otherwise."""

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
    """What a checkpoint holds beside weights.

    Attributes:
        step: steps that are done.
        loss_curve: `[step, smoothed training loss]`.
        runs: what each run did: `from_step`, `to_step`, `seconds`, and `changed`, the settings that it had otherwise
            than the run before it, as `[before, now]`.
        checks: `step`, `mean` and `losses` of each check of the network that would be kept.
    """

    step: int = 0
    loss_curve: list[list[float]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

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

    def check(self, losses: dict[str, float]) -> bool:
        """Note the losses of a check, and say whether their mean is the lowest so far."""
        mean = sum(losses.values()) / len(losses)
        self.checks.append({"step": self.step, "mean": mean, "losses": losses})
        return self.best_step == self.step

    @property
    def best_step(self) -> int:
        """The step of the check with the lowest mean, the first of them."""
        return int(min(self.checks, key=lambda check: check["mean"])["step"])

    def stalled(self, patience: int | None) -> bool:
        """Whether that many checks have not improved on the best; a run with changed settings counts anew."""
        if patience is None or not self.checks:
            return False
        asked = max((run["from_step"] for run in self.runs if run["changed"]), default=0)
        since = max(int(asked), self.best_step)
        return sum(int(check["step"]) > since for check in self.checks) >= patience


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
