from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from freemcg import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.likeness import IN_PERCENT
from freemcg.gradient.objective import log_odds
from freemcg.identity.network import identity
from freemcg.identity.source import source

NAN = float("nan")
INFINITY = float("inf")
FINITE = "; its answer must be finite numbers, so try it in float32"


def brightness(images):
    """Logits of three classes. Each image has a row, which depends on that image alone."""
    level = images.flatten(1).double().mean(dim=1)
    return torch.stack([level, 4 * level - 1, -level], dim=1).float()


class Spy:
    """A classifier that remembers what it was asked."""

    def __init__(self, answer=brightness):
        self.answer = answer
        self.asked = []

    def __call__(self, images):
        self.asked.append(images)
        return self.answer(images)

    @property
    def sizes(self):
        return [len(images) for images in self.asked]


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


# --- counting and the budget ---


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (64, [5])])
def test_every_image_is_counted_and_batches_do_not_matter(batch_size, sizes, images):
    spy = Spy()
    black_box = BlackBox(spy, batch_size=batch_size)
    torch.testing.assert_close(black_box(images), BlackBox(brightness)(images), rtol=1e-6, atol=0)
    assert spy.sizes == sizes
    assert black_box.queries == 5
    black_box(images[:2])
    assert black_box.queries == 7
    assert black_box.remaining is None


def test_the_budget_is_refused_before_anything_is_asked(images):
    spy = Spy()
    black_box = BlackBox(spy, budget=8, batch_size=2)
    black_box(images[:4])
    with raises(QueryBudgetExceeded, "5 more queries would pass the budget of 8; 4 are left") as caught:
        black_box(images)
    assert (caught.value.asked, caught.value.remaining) == (5, 4)
    assert spy.sizes == [2, 2]
    assert (black_box.queries, black_box.remaining) == (4, 4)
    black_box(images[:4])
    assert black_box.remaining == 0
    with raises(QueryBudgetExceeded, "1 more queries would pass the budget of 8; 0 are left"):
        black_box(images[:1])


def test_a_budget_of_zero_answers_nothing(images):
    spy = Spy()
    with raises(QueryBudgetExceeded, "5 more queries would pass the budget of 0; 0 are left"):
        BlackBox(spy, budget=0)(images)
    assert spy.asked == []


@pytest.mark.parametrize(("reserved", "left"), [(0, 6), (2, 4), (6, 0), (50, 0)])
def test_reserving_keeps_queries_for_later(reserved, left, images):
    black_box = BlackBox(Spy(), budget=8)
    black_box(images[:2])
    with black_box.reserving(reserved):
        assert black_box.remaining == left
        with pytest.raises(QueryBudgetExceeded):
            black_box(images[:1].expand(left + 1, -1, -1, -1))
    assert black_box.remaining == 6


def test_reserving_spends_nests_and_ends_with_an_error(images):
    black_box = BlackBox(Spy(), budget=8)

    def spend():
        with black_box.reserving(3):
            black_box(images[:2])
            with black_box.reserving(1):
                assert black_box.remaining == 2
            assert black_box.remaining == 3
            raise KeyError

    with pytest.raises(KeyError):
        spend()
    assert black_box.remaining == 6


def test_reserving_without_a_budget_bounds_nothing(images):
    black_box = BlackBox(Spy())
    with black_box.reserving(3):
        assert black_box.remaining is None
        black_box(images)
    assert black_box.queries == 5


def test_queries_are_counted_when_sent_whatever_comes_back(images):
    black_box = BlackBox(lambda batch: 1 / 0, batch_size=2)
    with pytest.raises(ZeroDivisionError):
        black_box(images)
    assert black_box.queries == 2


# --- nothing but answers is read ---


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise AssertionError("somebody asked for a gradient")


class Undifferentiable(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 6 * 4, 3)

    def forward(self, images):
        assert not torch.is_grad_enabled()
        return _NoBackward.apply(self.head(images.flatten(1)))


def test_a_module_is_asked_without_a_graph(images):
    model = Undifferentiable().eval()
    images.requires_grad_(True)
    answer = BlackBox(model)(images)
    assert answer.grad_fn is None
    assert not answer.requires_grad
    assert images.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        logits = images.flatten(1) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(answer, logits - logits.exp().sum(dim=1, keepdim=True).log())


def test_a_callable_that_builds_a_graph_is_cut_off(images):
    weight = torch.ones(3, requires_grad=True)
    spy = Spy(torch.enable_grad()(lambda batch: brightness(batch) * weight))
    answer = BlackBox(spy)(images.requires_grad_(True))
    assert not answer.requires_grad
    assert not spy.asked[0].requires_grad


def test_a_model_in_training_mode_is_refused(images):
    black_box = BlackBox(Undifferentiable())
    with raises(
        ValueError, "the model is in training mode, where answers depend on the batch; call model.eval() first"
    ):
        black_box(images)
    assert black_box.queries == 0


def test_a_model_with_a_part_in_training_mode_is_refused(images):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(72, 3)).eval()
    network[1].train()
    black_box = BlackBox(network)
    with raises(
        ValueError,
        "the part '1' of the model is in training mode, where answers depend on the batch; call model.eval() first",
    ):
        black_box(images)
    assert black_box.queries == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_classifier_gets_float32(dtype, images):
    spy = Spy()
    assert BlackBox(spy)(images.to(dtype)).dtype == torch.float32
    assert spy.asked[0].dtype == torch.float32


# --- what an answer may look like ---


class OtherArray:
    """An array of another library."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array


class OnDevice:
    """An array of another library that says where its memory is."""

    def __init__(self, tensor):
        self.tensor, self.shape = tensor, tensor.shape

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


class UnreadableOnDevice(OtherArray):
    """An array whose memory this torch cannot reach, but which gives a copy."""

    def __dlpack__(self, **options):
        raise BufferError

    def __dlpack_device__(self):
        return (99, 0)


@pytest.mark.parametrize("answer", [[1, 0, 2], (1, 0, 2), [[1], [0], [2]], [np.int64(1), torch.tensor(0), 2]])
def test_labels_come_as_lists_too(answer):
    found = BlackBox(lambda images: answer, "label", num_classes=3)(torch.zeros(3, 1, 2, 2))
    assert found.argmax(dim=1).tolist() == [1, 0, 2]


@pytest.mark.parametrize("wrap", [list, tuple])
def test_lists_of_top_classes_are_rows_or_a_pair(wrap):
    rows = [[0.7, NAN, 0.2], [NAN, 0.9, NAN]]
    pair = ([[0, 2], [1, 0]], [[0.7, 0.2], [0.9, 0.05]])
    for answer, second in ((wrap(rows), [0.05, 0.9, 0.05]), (wrap(pair), [0.05, 0.9, 0.05])):
        found = BlackBox(lambda images, answer=answer: answer, "top_k", num_classes=3)(torch.zeros(2, 1, 2, 2)).exp()
        torch.testing.assert_close(found, torch.tensor([[0.7, 0.1, 0.2], second]))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: logits.double(),
        lambda logits: logits.numpy(),
        lambda logits: logits.double().numpy(),
        lambda logits: logits.numpy()[:, ::-1].copy()[:, ::-1],
        lambda logits: np.broadcast_to(logits.numpy(), (1, *logits.shape))[0],
        lambda logits: {"logits": logits, "hidden": None},
        lambda logits: {"logits": logits.numpy()},
        lambda logits: SimpleNamespace(logits=logits, loss=None),
        lambda logits: (logits, None),
        lambda logits: (logits, torch.zeros(len(logits), 7, 7)),
        lambda logits: [logits.numpy()],
        lambda logits: logits.tolist(),
        lambda logits: tuple(tuple(row) for row in logits.tolist()),
        lambda logits: [list(row) for row in logits.double()],
        lambda logits: [list(row) for row in logits.numpy()],
        lambda logits: {"logits": logits.tolist()},
        lambda logits: OtherArray(logits.numpy()),
        OnDevice,
        lambda logits: UnreadableOnDevice(logits.numpy()),
        lambda logits: (OtherArray(logits.numpy()), None),
        lambda logits: logits.double().numpy().astype(np.longdouble),
    ],
    ids=[
        "float64",
        "numpy",
        "numpy64",
        "numpy-reversed",
        "numpy-read-only",
        "dict",
        "dict-numpy",
        "object",
        "tuple",
        "tuple-hidden",
        "list-numpy",
        "lists",
        "tuples",
        "lists-of-scalars",
        "lists-of-numpy-scalars",
        "dict-lists",
        "other-library",
        "dlpack",
        "dlpack-fails",
        "tuple-other-library",
        "longdouble",
    ],
)
def test_answers_come_in_many_wrappings(wrap, images):
    expected = BlackBox(brightness)(images)
    torch.testing.assert_close(BlackBox(lambda batch: wrap(brightness(batch)))(images), expected)


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("logits", [[0.0, 1.0, -2.0]], [[x - math.log(1 + math.e + math.exp(-2)) for x in (0, 1, -2)]]),
        ("logits", [[800.0, 799.0, -800.0]], [[x - math.log(1 + math.exp(-1)) for x in (0, -1, -1600)]]),
        ("probabilities", [[0.2, 0.3, 0.5]], [[math.log(0.2), math.log(0.3), math.log(0.5)]]),
        ("probabilities", [[0.202, 0.303, 0.505]], [[math.log(0.2), math.log(0.3), math.log(0.5)]]),
        ("probabilities", [[1.0, 0.0]], [[-math.log(1 + 1e-12), math.log(1e-12 / (1 + 1e-12))]]),
        ("log_probabilities", [[math.log(0.2), math.log(0.8)]], [[math.log(0.2), math.log(0.8)]]),
        ("log_probabilities", [[math.log(0.202), math.log(0.808)]], [[math.log(0.2), math.log(0.8)]]),
    ],
)
def test_scores_become_log_probabilities(kind, answer, expected):
    answered = BlackBox(lambda images: torch.tensor(answer), kind)(torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(answered, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_a_probability_of_zero_has_a_finite_logarithm():
    answered = BlackBox(lambda images: torch.tensor([[0.0, -INFINITY]]), "log_probabilities")(torch.zeros(1, 1, 2, 2))
    assert answered[0, 0] == 0
    assert -1000 < answered[0, 1] < -80


@pytest.mark.parametrize(("classes", "other"), [(2, 0.01), (3, 0.005), (11, 0.001)])
@pytest.mark.parametrize("wrap", [torch.tensor, np.array, lambda row: torch.tensor(row, dtype=torch.float32)])
def test_a_label_is_worth_99_percent(classes, other, wrap):
    answered = BlackBox(lambda images: wrap([1, 0]), "label", num_classes=classes)(torch.zeros(2, 1, 2, 2))
    expected = torch.full((2, classes), other)
    expected[0, 1] = expected[1, 0] = 0.99
    torch.testing.assert_close(answered.exp(), expected)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_labels_alike_differ_by_nothing_and_others_by_much(classes):
    """So an ensemble with equal answers has exactly no signal, and one changed label always shows."""
    labels = torch.tensor([1] * 40 + [0])
    black_box = BlackBox(lambda images: labels[: len(images)], "label", num_classes=classes)
    values = log_odds(black_box(torch.zeros(41, 1, 2, 2)), 1)
    assert (values[:40] == values[0]).all()
    assert values[0].item() == pytest.approx(math.log(99), rel=1e-5)
    assert values[40].item() == pytest.approx(math.log(0.01 / (classes - 1) / (1 - 0.01 / (classes - 1))), rel=1e-5)


def test_class_names_count_the_classes_of_labels():
    answered = BlackBox(lambda images: torch.tensor([1]), "label", class_names=["cat", "dog"])(torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(answered.exp(), torch.tensor([[0.01, 0.99]]))


# --- some of the classes ---


def answer_top_k(answer, classes):
    """Log-probabilities of a black box that gives this answer to every question."""
    count = len(answer[0]) if isinstance(answer, tuple) else len(answer)
    return BlackBox(lambda images: answer, "top_k", num_classes=classes, batch_size=count)(torch.zeros(count, 1, 2, 2))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.6, NAN, 0.3, NAN], [0.6, 0.05, 0.3, 0.05]),  # the others share the rest evenly
        ([NAN, 0.99, NAN], [0.005, 0.99, 0.005]),
        ([0.5, NAN, 0.1, NAN], [0.5 / 0.8, 0.1 / 0.8, 0.1 / 0.8, 0.1 / 0.8]),  # no other may exceed the smallest listed
        ([0.606, NAN, 0.404], [0.6, 1e-12, 0.4]),  # rounded scores may sum to more than 1
        ([1.0, 0.0, NAN], [1.0, 1e-12, 1e-12]),
        ([NAN, 0.1, NAN], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_classes_not_listed_share_what_is_left(row, expected):
    answered = answer_top_k(torch.tensor([row]), len(row))
    torch.testing.assert_close(answered.exp(), torch.tensor([expected]), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(answered.exp().sum(), torch.tensor(1.0))


@pytest.mark.parametrize("wrap", [tuple, list])
@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_a_pair_of_labels_and_scores_means_the_same(wrap, kind):
    pair = wrap([kind([[2, 0], [1, 3]]), kind([[0.7, 0.2], [0.5, 0.5]])])
    black_box = BlackBox(lambda images: pair, "top_k", num_classes=4)
    rows = torch.tensor([[0.2, NAN, 0.7, NAN], [NAN, 0.5, NAN, 0.5]])
    assert torch.equal(black_box(torch.zeros(2, 1, 2, 2)), answer_top_k(rows, 4))


def test_every_class_listed_is_the_same_as_probabilities(rng):
    probabilities = torch.rand(50, 6, generator=rng).pow(8)
    probabilities *= torch.linspace(0.981, 1.019, 50)[:, None] / probabilities.sum(dim=1, keepdim=True)
    probabilities = probabilities.clamp(max=1)
    probabilities[3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    expected = BlackBox(lambda images: probabilities, "probabilities")(torch.zeros(50, 1, 2, 2))
    assert torch.equal(answer_top_k(probabilities, 6), expected)
    order = probabilities.argsort(dim=1, descending=True)
    assert torch.equal(answer_top_k((order, probabilities.gather(1, order)), 6), expected)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_one_class_listed_with_99_percent_is_a_label(classes):
    labels = torch.tensor([1, 0])
    expected = BlackBox(lambda images: labels, "label", num_classes=classes)(torch.zeros(2, 1, 2, 2))
    torch.testing.assert_close(answer_top_k((labels[:, None], torch.full((2, 1), 0.99)), classes), expected)


@pytest.mark.parametrize("others", [[], [0.3], [0.3, 0.05], [0.0], [0.4, 0.2, 0.1]])
def test_log_odds_of_a_listed_class_never_fall_with_its_score(others):
    classes = 8
    scores = torch.linspace(0, 1 - sum(others), 400)
    rows = torch.full((400, classes), NAN)
    rows[:, 2] = scores
    rows[:, 3 : 3 + len(others)] = torch.tensor(others)
    values = log_odds(answer_top_k(rows, classes), 2)
    assert values.isfinite().all()
    assert (values.diff() >= -1e-5).all()
    assert values[-1] - values[0] > 3
    # if the rest of the row fills up to 1 without the cap, the odds are those of the score itself
    free = (1 - sum(others) - scores) / (classes - 1 - len(others)) <= rows.nan_to_num(INFINITY).amin(dim=1)
    free &= (1 - sum(others) - scores) > 1e-4
    torch.testing.assert_close(values[free], (scores / (1 - scores)).log()[free], rtol=1e-4, atol=1e-4)


def test_a_class_not_listed_is_never_above_one_that_is(rng):
    probabilities = torch.rand(200, 9, generator=rng).pow(3)
    probabilities /= probabilities.sum(dim=1, keepdim=True)
    for k in range(1, 9):
        scores, labels = probabilities.topk(k)
        answered = answer_top_k((labels, scores), 9).exp()
        listed = torch.zeros_like(answered, dtype=torch.bool).scatter_(1, labels, value=True)
        torch.testing.assert_close(answered[listed], probabilities[listed], rtol=1e-4, atol=1e-6)
        most = answered.masked_fill(listed, 0).amax(dim=1)
        assert (most <= answered.masked_fill(~listed, 1).amin(dim=1) * (1 + 1e-5)).all()
        assert (answered.argmax(dim=1) == labels[:, 0]).all()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            ([[0, 1], [2, 2]], [[0.6, 0.4], [0.5, 0.5]]),
            ValueError,
            "the black box listed class 2 twice for image 1 of 2",
        ),
        (
            ([[0, 1], [3, 2]], [[0.6, 0.4], [0.5, 0.5]]),
            ValueError,
            "the black box listed class 3 for image 1 of 2; classes are 0..2",
        ),
        (
            ([[-1, 1], [1, 2]], [[0.6, 0.4], [0.5, 0.5]]),
            ValueError,
            "the black box listed class -1 for image 0 of 2; classes are 0..2",
        ),
        (
            ([[0, 1], [1, 2]], [[0.6, 0.4], [0.5, NAN]]),
            ValueError,
            "the black box answered NaN among the scores of image 1 of 2",
        ),
        (
            ([[0, 1], [1, 2]], [[0.6, 0.4], [0.5, INFINITY]]),
            ValueError,
            "the black box answered NaN or infinity for image 1 of 2" + FINITE,
        ),
        (
            ([[0, 1], [1, 2]], [[0.6, 0.4], [-0.25, 0.5]]),
            ValueError,
            "the black box listed a score of -0.25 for image 1 of 2; scores of top_k are probabilities, in [0, 1]",
        ),
        (
            ([[0, 1], [1, 2]], [[97.5, 2.5], [0.25, 0.5]]),
            ValueError,
            "the black box listed a score of 97.5 for image 0 of 2; scores of top_k are probabilities, in [0, 1]"
            + IN_PERCENT.format("top_k"),
        ),
        (
            ([[0, 1], [1, 2]], [[0.6, 0.4], [0.75, 0.5]]),
            ValueError,
            "the black box listed scores that sum to 1.25 for image 1 of 2; they must sum to at most 1",
        ),
        (
            ([[0, 1, 2], [1, 2, 0]], [[0.6, 0.4, 0.0], [0.25, 0.25, 0.0]]),
            ValueError,
            "the black box listed scores that sum to 0.5 for image 1 of 2; "
            "they must sum to 1, since all 3 classes are listed",
        ),
        (
            ([[0.6, 0.4], [0.5, 0.5]], [[0, 1], [1, 2]]),
            TypeError,
            "the black box answered labels of type torch.float32; "
            "top_k takes a pair of labels (whole numbers) and scores, in this order",
        ),
        (
            ([[0], [1]], [[0.6, 0.4], [0.5, 0.5]]),
            ValueError,
            "the black box answered labels of shape (2, 1) and scores of shape (2, 2); both must be (images, k)",
        ),
        (
            ([0, 1], [0.6, 0.4]),
            ValueError,
            "the black box answered labels of shape (2,) and scores of shape (2,); both must be (images, k)",
        ),
        (
            ([[0, 1]], [[0.6, 0.4]]),
            ValueError,
            "the black box answered shape (1, 3) for 2 images; it must be (2, classes)",
        ),
        ([[0.5, NAN, 0.5], [NAN, NAN, NAN]], ValueError, "the black box listed no class for image 1 of 2"),
        (([[], []], [[], []]), ValueError, "the black box listed no class for image 0 of 2"),
        ([[0.5, 0.5], [0.5, NAN]], ValueError, "the black box answered 2 classes; it has 3"),
    ],
)
def test_a_bad_list_of_classes_is_refused_in_one_sentence(answer, error, message):
    if isinstance(answer, tuple):
        labels = torch.tensor(answer[0])
        answer = (labels if labels.numel() else labels.long(), torch.tensor(answer[1]))
    else:
        answer = torch.tensor(answer)
    black_box = BlackBox(lambda images: answer, "top_k", num_classes=3)
    with raises(error, message):
        black_box(torch.zeros(2, 1, 2, 2))


# --- preparing images ---


def triangle_weights(before, after):
    """Rows of an antialiased linear resize. Each is a triangle over the source pixels that one target pixel covers."""
    scale = before / after
    reach = max(scale, 1)
    rows = []
    for target in range(after):
        center = (target + 0.5) * scale
        row = [max(0, 1 - abs(source + 0.5 - center) / reach) for source in range(before)]
        rows.append([weight / sum(row) for weight in row])
    return torch.tensor(rows)


@pytest.mark.parametrize(("wanted", "size"), [((3, 8), (3, 8)), (2, (2, 2)), ((12, 4), (12, 4)), ((6, 4), (6, 4))])
def test_images_are_resized_as_the_classifier_wants(wanted, size, images):
    spy = Spy()
    BlackBox(spy, image_size=wanted)(images)
    rows, columns = triangle_weights(6, size[0]), triangle_weights(4, size[1])
    torch.testing.assert_close(spy.asked[0], rows @ images @ columns.T, rtol=1e-5, atol=1e-6)


def test_grey_is_repeated_for_a_colour_classifier(images):
    spy = Spy()
    BlackBox(spy, channels=3)(images[:, :1])
    assert torch.equal(spy.asked[0], torch.cat([images[:, :1]] * 3, dim=1))


def test_colour_becomes_luma_for_a_grey_classifier(images):
    spy = Spy()
    BlackBox(spy, channels=1)(images)
    red, green, blue = images.unbind(dim=1)
    torch.testing.assert_close(spy.asked[0][:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)


def test_images_are_normalised_last(images):
    spy, mean, std = Spy(), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    BlackBox(spy, channels=3, image_size=(3, 2), mean=mean, std=std)(images[:, :1])
    small = triangle_weights(6, 3) @ images[:, 0] @ triangle_weights(4, 2).T
    expected = torch.stack([(small - m) / s for m, s in zip(mean, std, strict=True)], dim=1)
    torch.testing.assert_close(spy.asked[0], expected, rtol=1e-5, atol=1e-6)


def test_a_classifier_that_normalises_in_place_leaves_the_callers_images_alone(images):
    before = images.clone()
    BlackBox(lambda batch: brightness(batch.sub_(0.5).div_(0.5)))(images)
    assert torch.equal(images, before)


# --- bad answers ---

LIKE_LOGITS = (
    "they are not bounded, like logits: say scores='logits' (--scores, means:), 'multi_label_logit' for "
    "independent labels, or 'value' for numbers that mean themselves"
)
LIKE_BINARY = (
    "they lie in [0, 1], like the probability of the positive class of two: say scores='binary' (--scores, means:), "
    "'binary_logit' for its logit, or 'value' for a number that means itself"
)


@pytest.mark.parametrize(
    ("kind", "answer", "error", "message"),
    [
        (
            "logits",
            torch.zeros(2, 4),
            ValueError,
            "the black box answered shape (2, 4) for 3 images; it must be (3, classes)",
        ),
        (
            "logits",
            torch.zeros(3),
            ValueError,
            "the black box answered shape (3,) for 3 images; it must be (3, classes); " + LIKE_BINARY,
        ),
        (
            "logits",
            torch.zeros(3, 1),
            ValueError,
            "the black box answered one column of scores; " + LIKE_BINARY,
        ),
        (
            "logits",
            torch.tensor([[0.0, 1.0], [1.0, 2.0], [NAN, 0.0]]),
            ValueError,
            "the black box answered NaN or infinity for image 2 of 3" + FINITE,
        ),
        (
            "logits",
            torch.tensor([[0.0, 1.0], [1.0, INFINITY], [0.0, 0.0]]),
            ValueError,
            "the black box answered NaN or infinity for image 1 of 3" + FINITE,
        ),
        (
            "logits",
            [[0.0, 1.0], [0.0], [0.0, 1.0]],
            TypeError,
            "the black box answered a list that holds something else than numbers, or lists of unequal length; "
            "it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "label",
            ["cat", "dog", "cat"],
            TypeError,
            "the black box answered a list that holds something else than numbers, or lists of unequal length; "
            "it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "label",
            np.array(["cat", "dog", "cat"]),
            TypeError,
            "the black box answered an array of <U3; it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            np.array([[None, 1.0]] * 3),
            TypeError,
            "the black box answered an array of object; it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            [torch.zeros(2), torch.zeros(3), torch.zeros(2)],
            TypeError,
            "the black box answered list (Tensor (2,), Tensor (3,), Tensor (2,)); it must answer numbers: a tensor, an "
            "array, or lists",
        ),
        (
            "logits",
            torch.zeros(3, 2, dtype=torch.complex64),
            TypeError,
            "the black box answered complex numbers (torch.complex64); it must answer real ones, such as their .real",
        ),
        (
            "logits",
            [[1j, 0.0]] * 3,
            TypeError,
            "the black box answered complex numbers (torch.complex128); it must answer real ones, such as their .real",
        ),
        ("binary", 0.5, ValueError, "the black box answered shape () for 3 images; it must be (3,)"),
        (
            "logits",
            {"scores": torch.zeros(3, 2)},
            TypeError,
            "the black box answered dict (scores); it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            (torch.zeros(3, 2, 2), None),
            TypeError,
            "the black box answered tuple (Tensor (3, 2, 2), NoneType); "
            "it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            (torch.zeros(()), torch.zeros(3, 2)),
            TypeError,
            "the black box answered tuple (Tensor (), Tensor (3, 2)); "
            "it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            (),
            TypeError,
            "the black box answered tuple (); it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "label",
            (torch.zeros(3, 2), torch.zeros(3)),
            TypeError,
            "the black box answered tuple (Tensor (3, 2), Tensor (3,)); "
            "it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "logits",
            None,
            TypeError,
            "the black box answered NoneType; it must answer numbers: a tensor, an array, or lists",
        ),
        (
            "probabilities",
            torch.tensor([[0.5, 0.5], [2.0, 1.5], [0.0, 1.0]]),
            ValueError,
            "the black box was declared to answer probabilities, but "
            "a row lies in [1.5, 2] and sums to 3.5; " + LIKE_LOGITS + IN_PERCENT.format("multi_label"),
        ),
        (
            "probabilities",
            torch.tensor([[0.505, 0.5], [0.5, 0.5], [-0.25, 1.25]]),
            ValueError,
            "the black box was declared to answer probabilities, but "
            "a row lies in [-0.25, 1.25] and sums to 1; " + LIKE_LOGITS,
        ),
        (
            "probabilities",
            torch.tensor([[0.5, 0.5], [0.875, 0.75], [0.0, 1.0]]),
            ValueError,
            "the black box was declared to answer probabilities, but a row lies in [0.75, 0.875] and sums to 1.625; "
            "they lie in [0, 1] and do not sum to 1, like independent labels, each with a sigmoid: say "
            "scores='multi_label' (--scores, means:); if they are rounded probabilities or percent, "
            "divide each row by its sum and say scores='probabilities'",
        ),
        (
            "probabilities",
            torch.tensor([[0.5, 0.5], [25.0, 75.5], [0.0, 1.0]]),
            ValueError,
            "the black box was declared to answer probabilities, but "
            "a row lies in [25, 75.5] and sums to 100.5; each row sums to about 100, like "
            "percent: say scores='percent' (--scores, means:)",
        ),
        (
            "log_probabilities",
            torch.tensor([[0.5, 0.5], [1.0, 2.0], [0.5, 0.5]]).log(),
            ValueError,
            "the black box was declared to answer log-probabilities, but exp(row) sums to 3; " + LIKE_LOGITS,
        ),
        (
            "log_probabilities",
            torch.tensor([[0.5, 0.5], [0.25, 0.25], [0.5, 0.5]]).log(),
            ValueError,
            "the black box was declared to answer log-probabilities, but exp(row) sums to 0.5; " + LIKE_LOGITS,
        ),
        (
            "log_probabilities",
            torch.tensor([[0.5, 0.5], [NAN, 0.5], [0.5, 0.5]]),
            ValueError,
            "the black box answered NaN or infinity for image 1 of 3" + FINITE,
        ),
        (
            "label",
            torch.tensor([0, 1, 2]),
            ValueError,
            "the black box answered the label 2; labels are whole numbers 0..1",
        ),
        (
            "label",
            torch.tensor([0, -1, 1]),
            ValueError,
            "the black box answered the label -1; labels are whole numbers 0..1",
        ),
        (
            "label",
            torch.tensor([0, 0.5, 1]),
            ValueError,
            "the black box answered the label 0.5; labels are whole numbers 0..1",
        ),
        (
            "label",
            torch.tensor([0.0, NAN, 1.0]),
            ValueError,
            "the black box answered NaN or infinity for image 1 of 3" + FINITE,
        ),
        ("label", torch.zeros(3, 2), ValueError, "the black box answered shape (3, 2) for 3 images; it must be (3,)"),
    ],
)
def test_a_bad_answer_is_refused_in_one_sentence(kind, answer, error, message):
    black_box = BlackBox(lambda images: answer, kind, num_classes=2 if kind == "label" else None)
    with raises(error, message):
        black_box(torch.zeros(3, 1, 2, 2))
    assert black_box.queries == 3


@pytest.mark.parametrize("known", [{}, {"num_classes": 3}, {"class_names": ["a", "b", "c"]}])
def test_the_number_of_classes_may_not_change(known, images):
    spy = Spy()
    black_box = BlackBox(spy, **known)
    black_box(images)
    assert black_box.num_classes == 3
    spy.answer = lambda batch: torch.zeros(len(batch), 4)
    with raises(ValueError, "the black box answered 4 classes; it has 3"):
        black_box(images)


# --- bad input: refused before a query is spent ---


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (
            torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got a tensor of uint8 and shape (2, 1, 4, 4), which "
            "looks like NCHW; pass images.float() / 255",
        ),
        (
            np.zeros((6, 5, 3), dtype=np.uint8),
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got an array of uint8 and shape (6, 5, 3), which "
            "looks like HWC; pass torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255",
        ),
        (
            np.zeros((2, 1, 4, 4), dtype=np.float32),
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got an array of float32 and shape (2, 1, 4, 4), "
            "which looks like NCHW; pass torch.from_numpy(images)",
        ),
        (
            [0.5],
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got list of float64 and shape (1,)",
        ),
        (
            None,
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got NoneType",
        ),
        (
            Image.new("RGB", (4, 4)),
            TypeError,
            "images must be a float tensor (N, C, H, W) in [0, 1], got a PIL picture of mode RGB; pass "
            'torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255',
        ),
        (
            torch.zeros(1, 4, 4),
            ValueError,
            "images must be (N, C, H, W) with C = 1 or 3, got a tensor of float32 and shape (1, 4, 4), which looks "
            "like CHW; pass image[None]",
        ),
        (
            torch.zeros(2, 2, 4, 4),
            ValueError,
            "images must be (N, C, H, W) with C = 1 or 3, got a tensor of float32 and shape (2, 2, 4, 4)",
        ),
        (
            torch.zeros(0, 1, 4, 4),
            ValueError,
            "images must be (N, C, H, W) with C = 1 or 3, got a tensor of float32 and shape (0, 1, 4, 4)",
        ),
        (torch.full((1, 1, 2, 2), NAN), ValueError, "images hold NaN or infinity; they must be in [0, 1]"),
        (torch.full((1, 1, 2, 2), -INFINITY), ValueError, "images hold NaN or infinity; they must be in [0, 1]"),
        (
            torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2),
            ValueError,
            "images must be in [0, 1], got values in [0, 255]; pass images / 255",
        ),
        (
            torch.tensor([-0.125, 0.5]).reshape(1, 1, 1, 2),
            ValueError,
            "images must be in [0, 1], got values in [-0.125, 0.5]; rescale them first",
        ),
    ],
)
def test_bad_images_are_refused_before_a_query_is_spent(bad, error, message):
    spy = Spy()
    black_box = BlackBox(spy)
    with raises(error, message):
        black_box(bad)
    assert (black_box.queries, spy.asked) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"predict": "resnet18"}, TypeError, "predict must be callable (images in, scores out), got str"),
        (
            {"scores": "logit"},
            ValueError,
            "scores must be one of logits, probabilities, percent, log_probabilities, top_k, label, binary, "
            "binary_logit, multi_label, multi_label_logit, value, got 'logit'",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"budget": -1}, ValueError, "budget must be >= 0, got -1"),
        ({"channels": 2}, ValueError, "channels must be 1 (grey) or 3 (RGB), got 2"),
        ({"mean": [0.5]}, ValueError, "give both mean and std, or neither"),
        ({"std": [0.5]}, ValueError, "give both mean and std, or neither"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, ValueError, "num_classes is 3 but there are 2 class_names"),
        ({"scores": "label", "num_classes": 1}, ValueError, "num_classes must be >= 2, got 1"),
        ({"class_names": ["a"]}, ValueError, "num_classes must be >= 2, got 1"),
        ({"scores": "label"}, ValueError, "a black box that answers labels needs class_names or num_classes"),
        ({"scores": "top_k"}, ValueError, "a black box that answers top_k needs class_names or num_classes"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with raises(error, message):
        BlackBox(**{"predict": brightness, **arguments})


NAMES = [f"class{index}" for index in range(14)]


@pytest.mark.parametrize(("target", "index"), [("class0", 0), ("class13", 13), (0, 0), (13, 13)])
def test_a_class_goes_by_name_or_index(target, index):
    assert BlackBox(brightness, class_names=NAMES).class_index(target) == index


@pytest.mark.parametrize("target", [np.int64(2), np.uint8(2), torch.tensor(2)])
def test_a_whole_number_of_any_kind_is_an_index(target):
    index = BlackBox(brightness).class_index(target)
    assert (index, type(index)) == (2, int)


@pytest.mark.parametrize("target", [2.7, True, torch.tensor(2.0), [2, 1]])
def test_what_is_no_whole_number_is_no_class(target):
    with pytest.raises(TypeError, match=r"^a class is named by its index \(a whole number\) or its name, got "):
        BlackBox(brightness).class_index(target)


def test_a_name_that_two_classes_have_is_refused():
    black_box = BlackBox(brightness, class_names=["crane", "dog", "crane"])
    with raises(ValueError, "2 classes are named 'crane'; name one by its index: 0, 2"):
        black_box.class_index("crane")
    assert black_box.class_index("dog") == 1


@pytest.mark.parametrize(
    ("names", "target", "message"),
    [
        (NAMES, "classs", f"there is no class 'classs'; classes are {', '.join(NAMES[:12])}, ..."),
        (["cat", "dog"], "cow", "there is no class 'cow'; classes are cat, dog"),
        (None, "cow", "there is no class 'cow'; the black box has no class_names"),
        (["cat", "dog"], 2, "there is no class 2; classes are 0..1"),
        (["cat", "dog"], -1, "there is no class -1; classes are 0..1"),
        (None, -1, "there is no class -1"),
    ],
)
def test_an_unknown_class_is_refused(names, target, message):
    black_box = BlackBox(brightness, class_names=names)
    with raises(ValueError, message):
        black_box.class_index(target)
    assert black_box.queries == 0


def test_an_index_is_checked_once_an_answer_has_told_the_classes(images):
    black_box = BlackBox(brightness)
    assert black_box.class_index(7) == 7
    black_box(images)
    with raises(ValueError, "there is no class 7; classes are 0..2"):
        black_box.class_index(7)


# --- identity ---


def test_identity_follows_the_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    before = BlackBox(model).identity
    assert re.fullmatch("Sequential:[0-9a-f]{16}", before)
    assert BlackBox(model).identity == before
    with torch.no_grad():
        model[1].weight[0, 0] += 1
    assert BlackBox(model).identity != before


def test_identity_of_a_function_is_its_name_and_a_digest_of_its_file(images):
    black_box = BlackBox(brightness, budget=9)
    black_box(images)
    assert black_box.identity == f"{__name__}.brightness:{source(brightness)}"
    assert repr(black_box) == f"BlackBox({black_box.identity}, scores='logits', 5 queries of 9)"


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (
            [0.5, 0.5],
            [0.5],
            "mean and std need one finite number per channel, std > 0; got [0.5, 0.5] and [0.5]",
        ),
        ([0.5], [0.0], "mean and std need one finite number per channel, std > 0; got [0.5] and [0.0]"),
        ([0.5], [0.5], "mean and std have 1 channels but the images have 3"),
    ],
)
def test_mean_and_std_that_do_not_fit_cost_nothing(images, mean, std, message):
    with pytest.raises(ValueError) as caught:
        BlackBox(lambda x: x.flatten(1), mean=mean, std=std)(images)
    assert str(caught.value) == message


class Extra(torch.nn.Module):
    """A module whose state holds more than tensors."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


@pytest.mark.parametrize("extra", [{"scale": [torch.ones(2), 3]}, None, "text", torch.zeros(2).to_sparse()])
def test_what_a_state_holds_beside_tensors_counts_too(extra):
    assert identity(Extra(extra)) == identity(Extra(extra))
    assert identity(Extra(extra)) != identity(Extra(object))


def test_an_address_in_memory_does_not_count():
    assert identity(Extra(object())) == identity(Extra(object()))


# --- what users hand over ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_gets_images_in_its_own_precision(dtype, images):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 3)).eval()
    wanted = BlackBox(network)(images)
    answer = BlackBox(network.to(dtype))(images)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, wanted, rtol=0.05, atol=0.02)


def test_an_exported_module_is_asked_as_it_is(images):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 3)).eval()
    exported = torch.export.export(network, (images,)).module()
    torch.testing.assert_close(BlackBox(exported)(images), BlackBox(network)(images))


def test_class_names_may_be_given_by_their_index():
    assert BlackBox(brightness, class_names={1: "b", 0: "a"}).class_names == ("a", "b")
    with raises(ValueError, "class_names must name each class from 0 to 1, got the indices [0, 2]"):
        BlackBox(brightness, class_names={0: "a", 2: "b"})


@pytest.mark.parametrize("mean", [0.5, np.float32(0.5), torch.tensor(0.5)])
def test_one_mean_serves_all_channels(mean, images):
    one, each = Spy(), Spy()
    BlackBox(one, mean=mean, std=0.25)(images)
    BlackBox(each, mean=np.array([0.5] * 3), std=[0.25] * 3)(images)
    torch.testing.assert_close(one.asked[0], each.asked[0], rtol=0, atol=0)


@pytest.mark.parametrize("size", [np.int64(20), (np.int64(20), 20), [20, 20], 20])
def test_a_size_is_whole_numbers_of_any_kind(size):
    assert BlackBox(brightness, image_size=size).image_size == (20, 20)


@pytest.mark.parametrize("size", [0, 2.5, (20,), (20, 0), "20"])
def test_another_size_is_refused(size):
    with pytest.raises(ValueError, match=r"^image_size must be a side or \(height, width\), whole numbers from 1 up, "):
        BlackBox(brightness, image_size=size)


def test_a_black_box_in_a_black_box_is_refused():
    with raises(TypeError, "predict is a BlackBox already; use it as it is"):
        BlackBox(BlackBox(brightness))


def test_a_class_is_no_model():
    with raises(TypeError, "predict is the class Linear; make an instance of it"):
        BlackBox(nn.Linear)


@pytest.mark.parametrize("change", [lambda images: images.to("meta"), torch.Tensor.to_sparse])
def test_images_without_plain_values_cost_nothing(change):
    black_box = BlackBox(brightness)
    with raises(TypeError, "images must hold their values, got a tensor that is sparse or on the device meta"):
        black_box(change(torch.rand(2, 1, 4, 4)))
    assert black_box.queries == 0
