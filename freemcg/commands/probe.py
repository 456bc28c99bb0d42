"""`freemcg probe`: how freemcg understands a classifier."""

from __future__ import annotations

from freemcg.commands.options import Classifier, Device, Images, Prior
from freemcg.commands.unnamed import refuse_for_colour
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
    from freemcg.files.images import read_for
    from freemcg.jobs.listing import list_pictures
    from freemcg.jobs.processes import start_processes
    from freemcg.jobs.speed import measured_speed
    from freemcg.jobs.spending import Spending
    from freemcg.jobs.unreadable import check_some_are_left, read_each, say_unreadable

    hush_diffusers()
    listing = list_pictures(images, images.parent / "unwritten")
    refuse_for_colour(prior, next(iter(listing.files.values())))
    _, place = start_processes(device)
    black_box = classifier.load(place)
    diffusion = prior.load(place)
    read, unreadable = read_each(listing.files, lambda path: read_for(diffusion, path), alone=listing.alone, enough=2)
    check_some_are_left(listing, unreadable.values())
    say_unreadable(unreadable.values())
    pictures = list(read.values())
    other = pictures[1] if len(pictures) > 1 else pictures[0].flip(-1)
    with Spending(black_box).said_if_broken_off(goes_on=False):
        found = asking.probe(black_box, pictures[0], other)
    speed = measured_speed(diffusion, pictures[0], black_box.scores)
    for line in [*asking.describe(black_box, found, tuple(pictures[0].shape)), *speed]:
        say(line)
