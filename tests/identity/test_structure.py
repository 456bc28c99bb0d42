"""The structure of a network tells it from another with the same weights, and use does not change it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from freemcg import load_bundle
from freemcg.identity.network import identity
from freemcg.identity.structure import tells_all

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
X = torch.linspace(-1, 1, 8).reshape(2, 4)


def net(middle=None, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), middle or nn.ReLU(), nn.Linear(3, 2)).eval()


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale


class Squared(nn.Module):
    def __init__(self, on):
        super().__init__()
        self.on = on

    def forward(self, x):
        if self.on:
            return x * x
        return x


class Buffered(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x):
        return x * self.scale


class Unregistered(Scaled):
    def __init__(self, scale):
        super().__init__(torch.tensor([scale]))


class Used(nn.Module):
    """A network that keeps books in use."""

    def __init__(self):
        super().__init__()
        self.calls, self.last, self.asked = 0, None, []

    def forward(self, x):
        self.asked.append(len(x))
        self._count()
        return x

    def _count(self):
        self.calls += 1
        self.last = "this"


def scripted(network):
    return torch.jit.script(network)


def frozen(network):
    return torch.jit.freeze(torch.jit.script(network))


def traced(network):
    return torch.jit.trace(network, X)


def exported(network):
    return torch.export.export(network, (X,)).module()


FORMS = [nn.Sequential, scripted, frozen, traced, torch.fx.symbolic_trace, exported]
PAIRS = {
    "another function": (nn.ReLU, nn.Tanh),
    "another slope": (nn.LeakyReLU, partial(nn.LeakyReLU, 0.2)),
    "another axis": (partial(nn.Softmax, 0), partial(nn.Softmax, 1)),
    "an attribute": (partial(Scaled, 1.0), partial(Scaled, 2.0)),
    "a truth value": (partial(Squared, True), partial(Squared, False)),
    "a buffer": (partial(Buffered, 1.0), partial(Buffered, 2.0)),
    "a whole number in a buffer": (partial(Buffered, 1), partial(Buffered, 2)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pair", PAIRS)
def test_networks_with_the_same_weights_are_told_apart(form, pair):
    one, same, other = (form(net(make().eval()).eval()) for make in (PAIRS[pair][0], *PAIRS[pair]))
    before = identity(one)
    one(X)
    assert identity(one) == before == identity(same) != identity(other)


def test_a_tensor_outside_the_state_counts():
    assert identity(Unregistered(1.0)) == identity(Unregistered(1.0)) != identity(Unregistered(2.0))
    assert identity(Unregistered(1.0)) == identity(Unregistered(1.0 + 2**-23))


@pytest.mark.parametrize("form", FORMS)
def test_networks_with_other_weights_are_told_apart(form):
    assert identity(form(net(seed=0))) != identity(form(net(seed=1)))


def test_a_shared_part_is_not_two_parts():
    one = nn.ReLU()
    assert identity(nn.Sequential(one, one)) != identity(nn.Sequential(nn.ReLU(), nn.ReLU()))


def test_use_changes_nothing():
    used = nn.Sequential(Used(), nn.Conv1d(2, 2, 3, padding="same")).eval()
    before = identity(used)
    used(X[None])
    used[0].register_forward_hook(lambda *_: None)
    assert identity(used) == before
    assert identity(used.train()) == before
    assert used[0].calls == 1


def all_of_them():
    return [identity(form(net(nn.GELU()))) for form in FORMS]


def test_a_network_that_is_compiled_in_place_is_the_same():
    network = Scaled(2.0)
    before = identity(network), tells_all(network)
    network.compile()  # lazily, at the first call
    assert (identity(network), tells_all(network)) == before


def test_another_process_agrees():
    code = "import test_structure; test_structure.scripted(test_structure.net()); print(*test_structure.all_of_them())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == all_of_them()


def hooked():
    network = net()
    network[1].register_forward_hook(lambda part, given, answer: answer * 2)
    return network


def patched():
    network = net()
    network[1].forward = lambda x: x * 2
    return network


def holding():
    network = net()
    network[1].table = {"scale": 2}
    return network


def test_the_structure_of_library_classes_tells_all():
    assert all(tells_all(form(net())) for form in FORMS[:5])
    assert tells_all(load_bundle("digits").classifier)


@pytest.mark.parametrize("make", [hooked, patched, holding, Used, partial(Scaled, 1.0), partial(Unregistered, 1.0)])
def test_what_is_left_out_is_known_to_be(make):
    assert not tells_all(make().eval())
