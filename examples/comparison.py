"""Compare explanations of the same model: what each costs, and how well it ranks the pixels.

    python examples/comparison.py --images 8

Insertion asks how fast the class appears as pixels come in, in the order of the map: higher is better. Deletion asks
how fast it goes as they leave: lower is better. `freemcg compare` does this from a terminal for your own images. It
also draws the maps, and measures how far each lies along realistic images; there FreeMCG leads.
"""

from __future__ import annotations

import argparse

import baselines
from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.evaluation import insertion_deletion, mean_interval

QUERIES = 65


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    count = parser.parse_args().images

    digits = load_bundle()
    images, classifier = digits.images[:count], digits.classifier
    targets = classifier(images).argmax(dim=1)
    asking = {"freemcg": BlackBox(classifier), "rise": BlackBox(classifier), "zeroth_order": BlackBox(classifier)}
    methods = {
        "freemcg": FreeMCG(asking["freemcg"], digits.denoiser, queries=QUERIES),
        "rise": baselines.create("rise", asking["rise"], queries=QUERIES),
        "zeroth_order": baselines.create("zeroth_order", asking["zeroth_order"], queries=QUERIES),
        "integrated_gradients": baselines.create("integrated_gradients", classifier, steps=50),
    }
    print(f"{'method':22}{'queries an image':18}{'insertion':22}deletion")
    for name, method in methods.items():
        maps = method.attribute(images, targets)
        measured = insertion_deletion(BlackBox(classifier), images, maps, targets)
        cost = f"{asking[name].queries / count:.0f}" if name in asking else "reads weights"
        inserted, deleted = (f"{mean_interval(each):.3f}" for each in (measured.insertion, measured.deletion))
        print(f"{name:22}{cost:18}{inserted:22}{deleted}")


if __name__ == "__main__":
    main()
