"""The body of a request: images and variables are filled into the body of a description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from freemcg.blackbox.remote.environment import HOLDS_A_SECRET, Environment

IMAGE, CLASS_NAMES = "{image}", "{class_names}"


def filled(node: Any, environment: Environment, class_names: str) -> Any:
    """The body with every variable and the class names filled in. The environment hides its secrets from then on."""
    if isinstance(node, dict):
        for value in (value for key, value in node.items() if HOLDS_A_SECRET.search(str(key))):
            for secret in (str(each) for each in nodes(value) if type(each) in (str, int)):
                environment.remember(secret)
        return {key: filled(value, environment, class_names) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, environment, class_names) for value in node]
    return environment.fill(node).replace(CLASS_NAMES, class_names) if isinstance(node, str) else node


def with_images(node: Any, images: list[Any]) -> Any:
    """The body with the images in their places."""
    if isinstance(node, dict):
        return {key: with_images(value, images) for key, value in node.items()}
    if isinstance(node, list):
        if len(node) == 1 and holds_image(node) and not repeats(node[0]):
            return [with_images(node[0], [image]) for image in images]
        return [with_images(value, images) for value in node]
    if not isinstance(node, str) or IMAGE not in node:
        return node
    return images[0] if node == IMAGE else node.replace(IMAGE, images[0])


def holds_image(node: Any) -> bool:
    """Whether the node holds a place for an image."""
    return any(isinstance(each, str) and IMAGE in each for each in nodes(node))


def repeats(node: Any) -> bool:
    """Whether the node holds a list of one element that holds a place for an image."""
    return any(isinstance(each, list) and len(each) == 1 and holds_image(each) for each in nodes(node))


def nodes(node: Any) -> Iterator[Any]:
    """The node and all nodes within it."""
    yield node
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from nodes(value)
