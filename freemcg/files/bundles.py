"""The folders of the models that come along, by name: each bundle has a subfolder for each of its parts."""

from __future__ import annotations

from pathlib import Path

from freemcg.messages.errors import InvalidValue

BUNDLES = ("digits", "chest-xrays", "cifar10")


def bundle_folder(name: str) -> Path:
    """The folder of a bundle, with those of the subfolders `denoiser`, `classifier`, `judge` and `vae` that it has.

    Raises:
        ValueError: there is no bundle of that name.
    """
    if name not in BUNDLES:
        raise InvalidValue(f"there is no bundle {name!r}; bundled are {', '.join(BUNDLES)}")
    return Path(__file__).parents[1] / "models" / "bundles" / name


def bundles_with(part: str) -> tuple[str, ...]:
    """The names of the bundles that have a part: `denoiser`, `classifier`, `judge` or `vae`."""
    return tuple(name for name in BUNDLES if (bundle_folder(name) / part).is_dir())


def denoiser_source(path_or_name: str | Path) -> str:
    """The folder of the bundled denoiser of that name, or else the path or name itself.

    A text that is a bundle's name means the bundle, also where a folder of that name lies in the working directory. A
    `Path`, and a text with a slash such as `./cifar10`, mean the folder.
    """
    if isinstance(path_or_name, str) and path_or_name in bundles_with("denoiser"):
        return str(bundle_folder(path_or_name) / "denoiser")
    return str(path_or_name)
