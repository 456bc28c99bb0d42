"""The baselines agree with the public packages on the bundled digits classifier, if those packages are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from baselines import BlurIG, ExpectedGradients, Gradient, IntegratedGradients, SmoothGrad, SmoothGradSquared, VarGrad
from freemcg.files.bundles import bundle_folder
from freemcg.models.architectures import load_network
from freemcg.models.bundle import load_bundle


@pytest.fixture(scope="module")
def digits():
    """Four held-out digits, their labels and the classifier, in float64."""
    bundle = load_bundle()
    model, _ = load_network(bundle_folder("digits") / "classifier")
    return model.double().requires_grad_(False), bundle.images[:4].double(), bundle.labels[:4]


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 3)).double().eval()


def apart(found, wanted):
    """The largest relative distance of two maps among the images."""
    return ((found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)).max().item()


class TestCaptum:
    @pytest.fixture
    def attr(self):
        return pytest.importorskip("captum.attr")

    def test_gradient(self, attr, digits):
        model, images, labels = digits
        wanted = attr.Saliency(model).attribute(images.clone().requires_grad_(), target=labels, abs=False).detach()
        torch.testing.assert_close(Gradient(model).attribute(images, labels), wanted)

    @pytest.mark.parametrize("multiply", [True, False])
    def test_integrated_gradients(self, attr, digits, multiply):
        """On a piecewise linear network both rules converge as one over the steps. At 200 they differ by 0.5 %."""
        model, images, labels = digits
        method = attr.IntegratedGradients(model, multiply_by_inputs=multiply)
        base = torch.full_like(images, 0.3)
        wanted = method.attribute(images, base, target=labels, n_steps=200, internal_batch_size=200)
        found = IntegratedGradients(model, base=0.3, steps=200, multiply_by_inputs=multiply).attribute(images, labels)
        assert apart(found, wanted) < 5e-3

    def test_smooth_grad(self, attr, digits):
        """They agree up to the noise of the samples, which is a third with nine times as many."""
        model, images, labels = digits
        distances = []
        for samples in (40, 360):
            torch.manual_seed(1)
            tunnel = attr.NoiseTunnel(attr.Saliency(model))
            wanted = tunnel.attribute(
                images[:2], nt_samples=samples, nt_samples_batch_size=50, stdevs=0.1, target=labels[:2], abs=False
            )
            method = SmoothGrad(model, noise=0.1, relative=False, samples=samples)
            distances.append(apart(method.attribute(images[:2], labels[:2]), wanted.detach()))
        assert distances[1] < 0.1
        assert distances[0] / distances[1] == pytest.approx(3, rel=0.3)

    @pytest.mark.parametrize(
        ("method", "name"), [(SmoothGrad, "smoothgrad"), (SmoothGradSquared, "smoothgrad_sq"), (VarGrad, "vargrad")]
    )
    def test_noisy_gradients_of_a_quadratic(self, attr, method, name):
        """The means over pixels of each moment agree, up to the noise of 2,000 samples."""
        weights = torch.rand(1024, generator=torch.Generator().manual_seed(3)).double()

        class Quadratic(nn.Module):
            def forward(self, images):
                squares = (weights * images.flatten(1) ** 2).sum(1)
                return torch.stack([squares, -squares], 1)

        model, image = Quadratic().eval(), torch.full((1, 1, 32, 32), 0.5).double()
        torch.manual_seed(1)
        tunnel = attr.NoiseTunnel(attr.Saliency(model))
        wanted = tunnel.attribute(image, name, 2000, 100, stdevs=0.2, target=0, abs=False).detach()
        found = method(model, noise=0.2, relative=False, samples=2000).attribute(image, 0)
        assert apart(found, wanted) < 0.06
        assert (found.sum() / wanted.sum()).item() == pytest.approx(1, abs=0.01)

    def test_gradient_shap_on_a_linear_model(self, attr, linear, digits):
        """Both give `w (x - mean of the drawn)`. With one reference there is only one draw."""
        _, images, _ = digits
        wanted = attr.GradientShap(linear).attribute(images[1:], images[:1], n_samples=5, target=2)
        found = ExpectedGradients(linear, references=images[:1], samples=4).attribute(images[1:], 2)
        torch.testing.assert_close(found, wanted.detach())

    def test_gradient_shap_on_digits(self, attr, digits):
        """Over seeds of Captum, the distance of two means of 1,000 and 300 draws is .02 to .08."""
        model, images, labels = digits
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - Captum draws from both
        wanted = attr.GradientShap(model).attribute(images[:1], images[1:], n_samples=1000, target=labels[:1])
        found = ExpectedGradients(model, references=images[1:], samples=300).attribute(images[:1], labels[:1])
        assert apart(found, wanted) < 0.06


class TestSaliency:
    @pytest.fixture
    def ask(self, digits):
        """The function that the package wants: gradients of images `(N, H, W, 1)`."""
        model, _, _ = digits
        pytest.importorskip("saliency.core")

        def call(rows, call_model_args, expected_keys):
            images = torch.as_tensor(rows).permute(0, 3, 1, 2).double()
            targets = torch.full((len(images),), call_model_args["label"])
            slopes = Gradient(model).gradient(images, targets)
            return {expected_keys[0]: slopes.permute(0, 2, 3, 1).numpy()}

        return call

    def test_integrated_gradients(self, digits, ask):
        core = pytest.importorskip("saliency.core")
        model, images, labels = digits
        for image, label in zip(images[:1], labels[:1].tolist(), strict=True):
            pixels, base = image.permute(1, 2, 0).numpy(), torch.full((32, 32, 1), 0.3).double().numpy()
            rows = core.IntegratedGradients().GetMask(pixels, ask, {"label": label}, base, x_steps=200, batch_size=100)
            wanted = torch.as_tensor(rows).permute(2, 0, 1)[None].double()
            found = IntegratedGradients(model, base=0.3, steps=200).attribute(image[None], label)
            assert apart(found, wanted) < 0.01

    def test_blur_ig(self, digits, ask):
        """The derivative form is that of the package. Our form comes near it with many steps."""
        core = pytest.importorskip("saliency.core")
        model, images, labels = digits
        image, label = images[:1], labels[0].item()
        pixels = image[0].permute(1, 2, 0).numpy()
        for steps in (20, 200):
            rows = core.BlurIG().GetMask(pixels, ask, {"label": label}, max_sigma=10, steps=steps)
            wanted = torch.as_tensor(rows).permute(2, 0, 1)[None]
            found = BlurIG(model, max_sigma=10, steps=steps, form="derivative").attribute(image, label)
            assert apart(found, wanted) < 1e-4  # rounding in the blur may decide a tie in max pooling
        assert apart(BlurIG(model, max_sigma=10, steps=200).attribute(image, label), wanted) < 0.02
