"""A network in training mode is refused, whatever form it comes in, and what the refusal says helps."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import nn

from freemcg import BlackBox
from freemcg.blackbox import box
from freemcg.identity import mode
from freemcg.identity.mode import refuse_training
from freemcg.messages.errors import InvalidValue

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Functional(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, training=self.training)


def exported(network):
    return torch.export.export(network, (X,)).module()


def traced(network):
    return torch.jit.trace(network, X, check_trace=False)


def refused(network, message):
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        refuse_training(network, "model")


KEPT = (
    "the model was traced or exported in training mode, where answers depend on chance or on the batch; "
    "call eval() on the network before you trace or export it"
)


@pytest.mark.parametrize("make", [nn.Dropout, lambda: nn.BatchNorm1d(4), Functional])
@pytest.mark.parametrize("form", [torch.fx.symbolic_trace, exported, traced])
def test_a_mode_that_a_program_keeps_is_found(form, make):
    network = form(nn.Sequential(make()).train())
    if form is torch.fx.symbolic_trace and make is not Functional:
        refused(network, "the model is in training mode, where answers depend on the batch; call model.eval() first")
        network.eval()
        refuse_training(network, "model")
    else:
        refused(network, KEPT)
    refuse_training(form(nn.Sequential(make()).eval()), "model")


@pytest.mark.parametrize("form", [torch.fx.symbolic_trace, exported, traced, torch.jit.script])
def test_a_network_that_was_traced_in_eval_mode_is_let_through_within_another(form):
    network = nn.Sequential(nn.Dropout(), form(nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).eval()))
    if form is exported:
        model = network
        mend = "for part in model.modules(): part.training = False"
        refused(model, f"the model is in training mode, where answers depend on the batch; run {mend} first")
        exec(mend)
    else:
        network.eval()
    refuse_training(network, "model")
    torch.testing.assert_close(network(X), network(X), rtol=0, atol=0)


def test_a_frozen_script_has_no_mode():
    refuse_training(torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Dropout()).eval())), "model")


class Held:
    def __init__(self, network):
        self.network = network

    def __call__(self, x):
        return self.network(x)


class Quiet:
    """An object that cannot be called itself."""

    def __init__(self, network):
        self.network = network

    def answer(self, x):
        return self.network(x)


class Careful(Held):
    def __call__(self, x):
        return self._ask(x)

    def _ask(self, x):
        return self.network.eval()(x)


def ensemble(parts):
    return lambda x: sum(part(x) for part in parts)


def switched(network):
    def predict(x):
        network.eval()
        return network(x)

    return partial(map_all, predict)


def map_all(function, x):
    return function(x)


WITHIN = {
    "model.__self__": lambda net: net.forward,
    "model.func": partial,
    "model.args[0]": lambda net: partial(lambda network, x: network(x), net),
    "net": lambda net: lambda x: 2 * net(x),
    "parts[1]": lambda net: ensemble([nn.Flatten().eval(), net]),
    "model.network": Held,
    "model.__self__.network": lambda net: Quiet(net).answer,
    "GLOBAL": lambda net: lambda x: 2 * GLOBAL(x),
    "network": lambda net: torch.no_grad()(lambda x, network=net: network(x)),
}
GLOBAL = nn.Sequential(nn.Flatten(), nn.Dropout())
IMAGES = torch.full((1, 1, 2, 2), 0.5)


@pytest.mark.parametrize("name", WITHIN)
def test_a_network_within_a_callable_is_found_before_the_first_query(name):
    network = GLOBAL.train() if name == "GLOBAL" else nn.Sequential(nn.Flatten(), nn.Dropout())
    black_box = BlackBox(WITHIN[name](network))
    called = "<lambda>.__defaults__[0]" if name == "network" else name
    message = f"the {called} is in training mode, where answers depend on the batch; call {called}.eval() first"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        black_box(IMAGES)
    assert black_box.queries == 0
    network.eval()
    assert black_box(IMAGES).isfinite().all()


@pytest.mark.parametrize("make", [switched, Careful])
def test_a_callable_that_switches_the_mode_itself_is_let_through(make):
    black_box = BlackBox(make(nn.Sequential(nn.Flatten(), nn.Dropout())))
    torch.testing.assert_close(black_box(IMAGES), black_box(IMAGES), rtol=0, atol=0)


def test_what_holds_itself_ends():
    held = Held(nn.Sequential(nn.Flatten()).eval())
    held.itself = [held]
    assert BlackBox(held)(IMAGES).shape == (1, 4)


def test_the_walk_through_the_users_code_is_done_once(monkeypatch):
    net = nn.Linear(4, 2).eval()
    black_box = BlackBox(lambda images: net(images.flatten(1)))
    monkeypatch.setattr(box, "networks", lambda model: pytest.fail("the walk is slow"))
    black_box(torch.rand(1, 1, 2, 2))
    net.train()
    with pytest.raises(InvalidValue, match="is in training mode"):
        black_box(torch.rand(1, 1, 2, 2))


def test_a_program_is_read_once(monkeypatch):
    traced = torch.jit.trace(nn.Linear(4, 2).eval(), torch.rand(1, 4))
    refuse_training(traced, "model")
    monkeypatch.setattr(mode, "_program_trains", lambda part: pytest.fail("reading a program is slow"))
    refuse_training(traced, "model")
