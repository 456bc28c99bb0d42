"""The identity of a model, which a result records: all of the state counts, and it is known before the first query."""

from __future__ import annotations

import collections
import dataclasses
import io
import os
import re
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from plane import Linear, make
from torch import nn

from freemcg.identity.network import identity
from freemcg.messages.errors import InvalidValue


class Extra(Linear):
    """The classifier with a state that holds more than tensors."""

    def __init__(self, extra=None):
        super().__init__()
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


class Table:
    """A user's object, whose text does not say what it holds."""

    def __init__(self, rows):
        self.rows = rows


@dataclasses.dataclass
class Scales:
    rows: object


class Slots:
    __slots__ = ("rows",)

    def __init__(self, rows):
        self.rows = rows


def long(changed=False):
    """An array that both NumPy and torch print without its middle."""
    array = np.zeros(5000)
    array[2500] = changed
    return array


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda array: array,
        torch.from_numpy,
        lambda array: array.astype(object),
        lambda array: {"scales": [array]},
        lambda array: collections.OrderedDict(scales=array),
        lambda array: collections.deque([array]),
        lambda array: io.BytesIO(array.tobytes()),
        lambda array: frozenset(map(tuple, enumerate(array[2499:2502]))),
        lambda array: np.rec.fromarrays([array, array], names="a,b"),
        Table,
        Scales,
        Slots,
        lambda array: nn.ParameterList([torch.from_numpy(array)]),
    ],
)
def test_a_value_within_the_state_counts_whole(wrapped):
    assert identity(Extra(wrapped(long()))) == identity(Extra(wrapped(long())))
    assert identity(Extra(wrapped(long()))) != identity(Extra(wrapped(long(changed=True))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(4), np.zeros(4, np.int64)),
        (np.float32(1), np.float64(1)),
        (1, 1.0),
        ("1", 1),
        ([], {}),
        (torch.float32, torch.float16),
        (torch.tensor([1j]).conj(), torch.tensor([1j])),
        (Table, Scales),
    ],
)
def test_kind_and_shape_count(one, other):
    assert identity(Extra(one)) != identity(Extra(other))


def test_what_holds_itself_ends():
    table = Table([])
    table.rows.append(table)
    assert identity(Extra(table)) == identity(Extra(table))


def test_another_process_agrees_on_a_set():
    """The other process hashes texts with another seed, so a set has another order there."""
    code = "from test_identity import Extra, identity; print(identity(Extra(set('abcdef'))))"
    command = [sys.executable, "-c", code]
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert said == identity(Extra(set("abcdef"))) + "\n"


class Broken(Linear):
    def get_extra_state(self):
        raise KeyError("the scales are gone")


class Lazy(Linear):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(3)


class Unloaded(Linear):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3, device="meta")


NO_VALUES = "head.weight' of the network has no values yet; load its weights, or call the network once on an image"


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [(Lazy, InvalidValue, NO_VALUES), (Unloaded, InvalidValue, NO_VALUES), (Broken, KeyError, "'the scales are gone'")],
)
def test_a_state_that_cannot_be_recorded_costs_no_query(kind, error, message, classifier, denoiser, image):
    """This holds for the classifier and for the denoiser."""
    broken = kind().eval()
    explainer, other = make(broken, denoiser), make(classifier, denoiser)
    for method in (explainer, other):
        for use in (
            lambda method=method: method.explain(image),
            lambda method=method: method.attribute(image[None]),
            lambda method=method: method.stream(image),
            lambda method=method: method.contrasts(image, [0, 1]),
            lambda method=method: method.difference(Linear().eval(), image),
            lambda method=method: method.counterfactual(image),
            lambda method=method: method.counterfactuals(image),
        ):
            with pytest.raises(error, match=f"{re.escape(message)}$"):
                use()
        denoiser.unet.broken = broken  # from here on the denoiser is broken
    assert broken.asked == classifier.asked == []


@pytest.mark.filterwarnings("ignore")  # torch wants another library for it
def test_a_quantised_network_has_the_identity_of_its_weights():
    """`quantize_dynamic` packs weights in a state that holds what is no tensor."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    packed = [torch.ao.quantization.quantize_dynamic(deepcopy(network), {nn.Linear}, torch.qint8) for _ in range(2)]
    with torch.no_grad():
        network[1].weight[0, 0] += 1
    other = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, torch.qint8)
    assert identity(packed[0]) == identity(packed[1]) != identity(other)
