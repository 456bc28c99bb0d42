"""`freemcg probe`: how freemcg understands a classifier."""

from __future__ import annotations

from freemcg.commands.options import Classifier, Device, Images, Prior
from freemcg.messages.terminal import say

EXAMPLES = (
    "freemcg probe photos/ --model endpoint.yaml",
    "freemcg probe photos/ --model http://localhost:8080/v2/models/digits --scores logits",
)


def probe(images: Images, classifier: Classifier, prior: Prior, device: Device = None) -> None:
    """Show how a classifier is understood, for 3 queries.

    The classifier is asked twice about the first picture and once about the second. If there is only one, its mirror
    image is the second. Pictures are sent as 'attribute' sends them, with the channels and the size of the denoiser.
    How fast the denoiser is, is measured too.
    """
    from freemcg.blackbox import probe as asking
    from freemcg.commands.prepare import hush_diffusers
    from freemcg.diffusion.speed import seconds_per_image
    from freemcg.files.images import read_for
    from freemcg.jobs.items import list_items
    from freemcg.jobs.plan import describe_speed
    from freemcg.jobs.processes import start_processes
    from freemcg.jobs.spending import Spending
    from freemcg.jobs.unreadable import check_some_are_left, read_each, say_unreadable
    from freemcg.settings import Settings, for_scores, make
    from freemcg.tasks.settling import settled_search

    hush_diffusers()
    items = list_items(images, images.parent / "unwritten")
    _, place = start_processes(device)
    black_box = classifier.load(place)
    diffusion = prior.load(place)
    read, unreadable = read_each(items, lambda path: read_for(diffusion, path), alone=images.is_file(), enough=2)
    check_some_are_left(images, items, unreadable.values())
    say_unreadable(unreadable.values())
    pictures = list(read.values())
    other = pictures[1] if len(pictures) > 1 else pictures[0].flip(-1)
    with Spending(black_box).said_if_broken_off(goes_on=False):
        found = asking.probe(black_box, pictures[0], other)
    meant = make(Settings, for_scores({}, black_box.scores))
    search = settled_search(meant.search, diffusion, pictures[0], black_box.scores, seed=meant.seed)
    meant = meant.model_copy(update={"search": search})
    times = seconds_per_image(diffusion, pictures[0])
    described = asking.describe(black_box, found, tuple(pictures[0].shape))
    for line in [*described, *describe_speed(times, meant, str(diffusion.device))]:
        say(line)
