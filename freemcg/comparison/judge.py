"""An independent judge of counterfactuals: a second classifier, which the searches never asked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.messages.errors import InvalidValue
from freemcg.results import Counterfactual


def check_judge(sides: Mapping[str, Mapping[str, Counterfactual]], judge: BlackBox) -> None:
    """Refuse a judge that cannot decide between the classes, or is the model that the searches asked.

    Raises:
        ValueError: it is; the message says why.
    """
    if judge.scores in (*MULTI_LABEL, VALUE):
        raise InvalidValue(f"--judge answers {judge.scores}, and must decide between classes; name another")
    for name, side in sides.items():
        for result in side.values():
            if result.record.get("black_box") == judge.identity:
                raise InvalidValue(f"--judge is the model that made {name}; name one that was trained apart")
            names = result.record.get("class_names")
            if judge.class_names is not None and names is not None and list(judge.class_names) != list(names):
                raise InvalidValue(
                    f"--judge decides between {', '.join(judge.class_names)}, and the counterfactuals in {name} are of "
                    f"{', '.join(names)}; the classes must be the same, in the same order"
                )
            if judge.num_classes is not None:
                _check_count(judge.num_classes, result, name)


def judged(sides: Mapping[str, Mapping[str, Counterfactual]], judge: BlackBox) -> Tensor:
    """Whether the judge decides each counterfactual as its target, `(folders, images)`, 1 or 0, float64.

    Each costs one query of the judge.

    Raises:
        ValueError: the judge knows another number of classes.
    """
    agreed = []
    for name, side in sides.items():
        answers = judge(torch.stack([result.image for result in side.values()]))
        _check_count(answers.shape[1], next(iter(side.values())), name)
        targets = torch.tensor([result.target for result in side.values()])
        agreed.append((answers.argmax(dim=1) == targets).double())
    return torch.stack(agreed)


def _check_count(classes: int, result: Counterfactual, name: str) -> None:
    wanted = len(result.log_probabilities)
    if classes != wanted:
        raise InvalidValue(
            f"--judge knows {classes} classes, and the model that made {name} knows {wanted}; name a judge of the same"
        )
