"""What is known about one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.show.names import class_name
from freemcg.show.page.answers import Answers, answers
from freemcg.show.page.maker import is_told
from freemcg.show.page.words import begun, chance, number

Attribution = Any  # the classes of freemcg.results, whose plot() imports this room
Counterfactual = Any


@dataclass(frozen=True)
class Explained:
    """One image with its map, its counterfactual, or both.

    Attributes:
        anchor: the name of its link, unique in a page.
        name: the name of its file.
        attribution, counterfactual: the results; at least one is there.
        contribution: the contribution that belongs to the attribution.
    """

    anchor: str
    name: str
    attribution: Attribution = None
    counterfactual: Counterfactual = None
    contribution: Attribution = None

    @property
    def results(self) -> dict[str, Any]:
        """The results that are there: `map` and `counterfactual`."""
        both = {"map": self.attribution, "counterfactual": self.counterfactual}
        return {name: each for name, each in both.items() if each is not None}

    @property
    def image(self) -> Tensor:
        """The image explained, `(C, H, W)`."""
        found: Tensor = self.counterfactual.original if self.attribution is None else self.attribution.image
        return found.detach().cpu()

    @property
    def record(self) -> Mapping[str, Any]:
        """The record of the first result."""
        record: Mapping[str, Any] = next(iter(self.results.values())).record
        return record

    @property
    def answer(self) -> Tensor:
        """The answer for the image, `(num_classes,)`."""
        first = self.attribution
        found: Tensor = self.counterfactual.original_log_probabilities if first is None else first.log_probabilities
        return found.detach().cpu()

    @property
    def decision(self) -> int:
        """The class decided for the image."""
        first = self.counterfactual.original_decision if self.attribution is None else self.attribution.decision
        return int(first)

    @property
    def decided(self) -> str:
        """The decision as a short name: a class, the label that was to change, or a value."""
        if self.counterfactual is not None:
            record = self.counterfactual.record
            before = record.get("value before")
            return (
                number(before, 4) if before is not None else class_name(record, self.counterfactual.original_decision)
            )
        record = self.record
        if record.get("scores") == VALUE:
            return number(self.answer[self.decision].item(), 4)
        return class_name(record, self.decision)

    @property
    def became(self) -> str:
        """The decision for the counterfactual, likewise; empty without one, or if it has no signal."""
        if not is_told(self.counterfactual):
            return ""
        record = self.counterfactual.record
        return number(record["value"], 4) if "value" in record else class_name(record, self.counterfactual.decision)

    @property
    def answers(self) -> Answers:
        """The answers before and after. After is left out if its classes are others, as for a label to turn on."""
        changed, after, marked = self.counterfactual, None, [self.decision]
        changed = changed if is_told(changed) else None
        if self.attribution is not None:
            marked.append(self.attribution.target)
        if changed is not None and changed.record.get("class_names") == self.record.get("class_names"):
            after = changed.log_probabilities.detach().cpu()
            marked += [changed.decision, changed.target]
        if after is not None and len(after) != len(self.answer):
            after = None
        return answers(self.record, self.answer, after, marked)

    @property
    def verdict(self) -> tuple[str, str]:
        """The decision as a title, and a sentence about how clear it is."""
        record, answer = self.record, self.answer
        scores = record.get("scores")
        if scores == VALUE:
            return f"Answered {self.decided}", "The classifier answers a number."
        if scores == "label":
            return (
                f"Decided {class_name(record, self.decision)}",
                "The classifier answers a label only, so no chances are known.",
            )
        if scores in MULTI_LABEL and "goal" not in record:
            there = [class_name(record, index) for index in (answer.exp() >= 0.5).nonzero().flatten().tolist()]
            if len(there) > 4:
                there = [*there[:4], f"{len(there) - 4} more"]
            told = "Each label is there or not, whatever the others are."
            return (f"Found {', '.join(there)}" if there else "Found no label"), told
        sentence = f"{begun(chance(answer[self.decision].item()))}."
        if len(answer) > 1:
            second = int(answer.argsort(descending=True)[1])
            sentence += f" Next comes {class_name(record, second)}: {chance(answer[second].item())}."
        return f"Decided {class_name(record, self.decision)}", sentence
