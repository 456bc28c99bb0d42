"""Laws that hold for every white-box method, whatever it computes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import baselines
from baselines import GuidedIG, PathMethod, WhiteBoxMethod
from freemcg import BlackBox
from manifolds import decoder_tangent_space

NAMES = [
    name for name, method in baselines.METHODS.items() if issubclass(method, WhiteBoxMethod) and name != "grad_cam"
]  # Grad-CAM needs a convolution; see test_region_methods
PATHS = [name for name in NAMES if issubclass(baselines.METHODS[name], PathMethod)]
SIZE = 72  # numbers in an image


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 4)).double()

    def forward(self, images):
        return self.layers(images)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("matrix", torch.randn(SIZE, 3, generator=generator).double() / 4)

    def encode(self, images):
        return images.flatten(1) @ self.matrix

    def decode(self, latents):
        return torch.sigmoid(latents @ self.matrix.T).reshape(-1, 3, 6, 4)


class Sometimes(nn.Module):
    """Answers as `model` does for some calls, and then fails."""

    def __init__(self, model, times) -> None:
        super().__init__()
        self.model = model
        self.times = times

    def forward(self, images):
        self.times -= 1
        if self.times < 0:
            raise RuntimeError("the lamp is off")
        return self.model(images)


@pytest.fixture
def model() -> nn.Module:
    return Smooth().eval()


@pytest.fixture
def batch(images):
    return images.double()


@pytest.fixture
def make(name, images):
    """The method under test, on a model, with small settings."""
    vae = Autoencoder().eval()
    references = torch.rand(3, 3, 6, 4, generator=torch.Generator().manual_seed(2))
    settings = {
        "smooth_grad": {"samples": 3},
        "smooth_grad_squared": {"samples": 3},
        "var_grad": {"samples": 3},
        "integrated_gradients": {"base": "uniform", "n_base": 2, "steps": 4},
        "expected_gradients": {"references": references, "samples": 4},
        "blur_ig": {"steps": 4, "max_sigma": 3.0},
        "guided_ig": {"steps": 6, "base": "gaussian", "n_base": 2, "anchors": 1},
        "manifold_ig": {"vae": vae, "steps": 4, "sweeps": 3},
        "tangentially_aligned_ig": {
            "tangent_spaces": lambda found: decoder_tangent_space(vae.decode, vae.encode(found.double())),
            "steps": 3,
            "iterations": 3,
            "enough": 1.0,
        },
        "geometrically_guided_ig": {"steps": 3, "iterations": 2, "rate": 0.1},
        "idgi": {"path": partial(GuidedIG, steps=5)},
        "integrated_decision_gradients": {"steps": 5},
        "adversarial_gradient_integration": {"steps": 3, "classes": 2, "step_size": 0.001},
        "ig2": {"references": references, "n_references": 2, "steps": 3},
    }
    return lambda model, **more: baselines.create(name, model, **settings.get(name, {}) | more)


@pytest.mark.parametrize("name", NAMES)
class TestLaws:
    def test_batch_equals_singles_with_a_target_an_image(self, make, model, batch):
        targets = torch.tensor([0, 3, 1, 2, 0])
        together = make(model, batch_size=2).attribute(batch, targets)
        assert together.shape == batch.shape
        for image, target, values in zip(batch, targets, together, strict=True):
            torch.testing.assert_close(make(model).attribute(image[None], int(target))[0], values)

    def test_none_explains_the_decision(self, make, model, batch):
        decided = model(batch).argmax(dim=1)
        torch.testing.assert_close(make(model).attribute(batch), make(model).attribute(batch, decided))

    def test_constant_model_gives_zero(self, make, model, batch):
        nn.init.zeros_(model.layers[-1].weight)
        assert (make(model).attribute(batch, 1) == 0).all()

    def test_other_model_gives_another_map(self, make, model, batch):
        first = make(model).attribute(batch, 1)
        model.layers[1].weight.data *= -1
        assert not torch.allclose(make(model).attribute(batch, 1), first, rtol=0.1)

    def test_same_seed_same_map_and_no_global_state(self, make, model, batch):
        first = make(model).attribute(batch, 1)
        before = torch.get_rng_state()
        assert torch.equal(make(model).attribute(batch, 1), first)
        assert torch.equal(torch.get_rng_state(), before)

    def test_type_in_is_type_out(self, make, model, batch):
        double = make(model).attribute(batch, 1)
        assert double.dtype == torch.float64
        assert (double != double.float()).any()

    def test_works_where_gradients_are_switched_off(self, make, model, batch):
        wanted = make(model).attribute(batch, 1)
        with torch.no_grad():
            torch.testing.assert_close(make(model.requires_grad_(False)).attribute(batch, 1), wanted)

    @pytest.mark.parametrize("times", [10**9, 2])
    def test_model_and_images_are_left_as_found(self, make, model, batch, times):
        model.layers[1].bias.requires_grad_(False)
        flags = [parameter.requires_grad for parameter in model.parameters()]
        weights = [parameter.clone() for parameter in model.parameters()]
        faulty = Sometimes(model, times).eval()
        values = batch.clone().requires_grad_(True)
        try:
            make(faulty).attribute(values, 1)
            assert times > 2 or faulty.times >= 0
        except RuntimeError:
            assert faulty.times < 0
        assert all(parameter.grad is None for parameter in model.parameters())
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
        assert all(torch.equal(now, then) for now, then in zip(model.parameters(), weights, strict=True))
        assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
        assert values.grad is None
        assert torch.equal(values, batch)
        assert not model.training
        assert torch.is_grad_enabled()

    def test_costs_what_it_says(self, make, model, batch):
        method, spent = make(model), []
        whole, products = method.gradient, getattr(method, "_hessian_product", None)
        if name_of(method) == "IG2":
            descent = method._distance_gradient
            method._distance_gradient = lambda images, wanted: spent.append(len(images)) or descent(images, wanted)
        method.gradient = lambda images, targets: spent.append(len(images)) or whole(images, targets)
        if products:
            method._hessian_product = lambda images, *rest: spent.append(2 * len(images)) or products(images, *rest)
        targets = model(batch).argmin(dim=1)  # so that no other class is reached within a step
        method.attribute(batch, 1 if name_of(method) != "AdversarialGradientIntegration" else targets)
        assert sum(spent) == len(batch) * eval(method.cost, {"len": len}, vars(method))

    def test_refusals_are_one_sentence(self, make, model, batch, name):
        kind = baselines.METHODS[name].__name__
        with pytest.raises(TypeError) as caught:
            make(BlackBox(model))
        assert str(caught.value) == (
            f"{kind} differentiates the model and needs a torch.nn.Module, got BlackBox; "
            "a model that can only be queried is explained by freemcg.FreeMCG"
        )
        unasked = Sometimes(model, 0).eval()
        with pytest.raises(ValueError, match=r"^there are 5 images but 2 targets$"):
            make(unasked).attribute(batch, [0, 1])
        with pytest.raises(ValueError, match=r"^images must be in \[0, 1\], got values in .*; rescale them first$"):
            make(unasked).attribute(batch * 300, 0)
        with pytest.raises(TypeError, match=r"^a class is named by its index \(a whole number\).*, got 0\.5$"):
            make(unasked).attribute(batch, 0.5)
        with pytest.raises(
            ValueError, match=r"^output must be one of logit, log_probability, probability, got 'score'$"
        ):
            make(model, output="score")
        with pytest.raises(ValueError, match=r"^batch_size must be >= 1, got 0$"):
            make(model, batch_size=0)
        with pytest.raises(ValueError, match=r"^there is no class 4; classes are 0\.\.3$"):
            make(model).attribute(batch, 4)
        with pytest.raises(ValueError, match=r"^the model answered NaN or infinity; it must answer finite logits$"):
            make(nn.Sequential(model, nn.LogSoftmax(0), nn.Threshold(1, float("nan"))).eval()).attribute(batch, 0)
        with pytest.raises(ValueError, match=r"^the model must answer logits \(5, classes\), got shape \(20,\)$"):
            make(nn.Sequential(model, nn.Flatten(0)).eval()).attribute(batch, 0)
        with pytest.raises(ValueError, match=r"^the model is in training mode.*call model\.eval\(\) first$"):
            make(model.train()).attribute(batch, 0)
        partly = nn.Sequential(model, nn.Dropout()).eval()
        partly[1].train()
        with pytest.raises(ValueError, match=r"^the part '1' of the model is in training mode.*model\.eval\(\) first$"):
            make(partly).attribute(batch, 0)


def name_of(method) -> str:
    return type(method).__name__


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_complete_but_for_the_residual(name, make, model, batch):
    """The residual is compared with the ends of the path, and `attribute` with `explain`."""
    method = make(model, batch_size=3)
    targets = torch.tensor([0, 3, 1, 2, 0])
    found = method.explain(batch, targets)
    torch.testing.assert_close(method.attribute(batch, targets), found.values)
    rises = []
    for path in method.paths(batch, targets, lambda points: method.gradient(points, targets)):
        first, *_, last = path
        rises.append(method.value(last, targets) - method.value(first, targets))
    rise = torch.stack(rises).sum(0) / (1 if method.sums_over_paths else len(rises))
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)) + found.residual, rise)


LINEAR = {"gradient", "input_x_gradient", "smooth_grad", "integrated_gradients", "expected_gradients", "blur_ig"}


@pytest.mark.parametrize("name", sorted(LINEAR | {"guided_ig", "manifold_ig", "idgi", "tangentially_aligned_ig"}))
def test_scale_of_the_model_is_the_scale_of_the_map(name, make, model, batch):
    first = make(model).attribute(batch, 1)
    model.layers[-1].weight.data *= 3
    torch.testing.assert_close(make(model).attribute(batch, 1), 3 * first)


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_map_of_a_sum_of_models_is_the_sum_of_the_maps(name, make, model, batch):
    parts = [make(model).attribute(batch, target) for target in (1, 2)]
    model.layers[-1].weight.data[1] += model.layers[-1].weight.data[2]
    torch.testing.assert_close(make(model).attribute(batch, 1), parts[0] + parts[1])


class TestRegistry:
    def test_names_are_those_of_the_classes(self):
        assert baselines.available() == tuple(baselines.METHODS)
        for name, method in baselines.METHODS.items():
            assert name.replace("_", "") == method.__name__.lower()
            assert isinstance(method.cost, str)
        assert type(baselines.create("gradient", Smooth().eval())) is baselines.METHODS["gradient"]

    def test_what_a_method_needs(self):
        manifold = {name for name in NAMES if baselines.METHODS[name].needs_manifold}
        assert manifold == {"manifold_ig", "tangentially_aligned_ig"}
        assert all(baselines.METHODS[name].needs_weights for name in NAMES)

    def test_unknown_names_are_refused_with_the_nearest(self, model):
        with pytest.raises(ValueError, match=r"^there is no method 'guidedig'; did you mean 'guided_ig'\?$"):
            baselines.create("guidedig", model)
        with pytest.raises(ValueError, match=r"^there is no method 'zzz'; known are gradient, input_x_gradient, "):
            baselines.create("zzz", model)
        with pytest.raises(ValueError, match=r"^there is no guided_ig setting 'step'; did you mean 'steps'\?$"):
            baselines.create("guided_ig", model, step=3)
        with pytest.raises(ValueError, match=r"^manifold_ig needs the setting 'vae'; see ManifoldIG$"):
            baselines.create("manifold_ig", model)


def test_progress_is_shown_over_the_images(model, batch, capsys):
    baselines.Gradient(model, batch_size=2, progress=True).attribute(batch)
    assert "5/5" in capsys.readouterr().err
    baselines.Gradient(model).attribute(batch)
    assert capsys.readouterr().err == ""
