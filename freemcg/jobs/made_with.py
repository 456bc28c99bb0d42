"""The settings and models that the results in a folder depend on. A second start must have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freemcg.explainer import FreeMCG
from freemcg.files.whole import write_text
from freemcg.identity.source import source
from freemcg.jobs.items import RECEIPT
from freemcg.jobs.plan import Task
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.settings import SharedSearch

SETTINGS = "settings.json"
CHECKSUM = "checksum"
BEGINNING = b'{\n  "task": '
SHOWN = 80
ASK_PATH = "ask_path"
"""A setting that is listed only if it is on, so that a folder of an earlier version goes on."""


def job_settings(explainer: FreeMCG, task: Task, target: int | str | None) -> dict[str, Any]:
    """List everything that results depend on, except the images."""
    settings, objective = explainer.settings.record(), explainer.settings.objective
    if not isinstance(objective, str):
        settings["objective"] += f":{source(objective)}"
    if task == "attribution":
        del settings["search"]
        settings.pop(ASK_PATH, None)
        settings |= dict.fromkeys(explainer.settings.left_open, "open")
    else:
        settings = {key: settings[key] for key in ("objective", "search", "seed", ASK_PATH) if key in settings}
        if isinstance(search := explainer.settings.search, SharedSearch) and search.left_open:
            settings["search"]["open"] = search.left_open
    black_box = explainer.black_box
    return {
        "task": task,
        "target": target,
        "settings": settings,
        "black box": black_box.identity,
        **black_box.described,
        "denoiser": explainer.denoiser.identity,
    }


def digest_of_settings(now: dict[str, Any]) -> str:
    """The digest of the settings, which each result notes."""
    return hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()[:16]


def write_made_with(out: Path, now: dict[str, Any]) -> None:
    """Write the settings into the folder of results, with a checksum."""
    write_text(out / SETTINGS, json.dumps({**now, CHECKSUM: digest_of_settings(now)}, indent=2) + "\n")


def check_made_with(out: Path, now: dict[str, Any], others: Sequence[Path] | None = None) -> None:
    """Refuse a folder whose results were made with other settings than `now`. A folder without results is nobody's.

    The file of settings tells which of them differ. If that file is lost or damaged, the results still tell that some
    do.

    Args:
        now: the settings, as `job_settings` lists them.
        others: the results that were made with other settings. `None` if results do not note settings.
    """
    if (out / SETTINGS).is_file():
        _check_settings_file(out, now, may_be_damaged=others is not None)
    if others:
        raise InvalidValue(
            f"{others[0]} holds a result made with other settings; give another --out, or delete {out} to start anew"
        )


def _check_settings_file(out: Path, now: dict[str, Any], *, may_be_damaged: bool) -> None:
    path = out / SETTINGS
    content = path.read_bytes()
    try:
        then = json.loads(content)
        checksum = then.pop(CHECKSUM, None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        then, checksum = None, None
    ours = checksum is not None or content.startswith(BEGINNING) or not content.strip()
    older = checksum is None and then is not None and then.keys() <= now.keys()
    if may_be_damaged and ours and not older and (then is None or checksum != digest_of_settings(then)):
        say(f"{path} was damaged, and is written anew", err=True)
        return
    try:
        then, now = ({ASK_PATH: False, **each, **each["settings"]} for each in (then, json.loads(json.dumps(now))))
    except (TypeError, KeyError):
        raise InvalidValue(f"{path} is not what a job writes; give another --out, or delete it") from None
    if not _holds_results(out):  # an earlier start ended before its first result
        return
    for key in now:
        if key != "settings" and then.get(key) != now[key]:
            raise InvalidValue(
                f"{out} holds results made with another {key} ({_shown(then.get(key))} then, {_shown(now[key])} now); "
                "give another --out, or delete it to start anew"
            )


def _holds_results(out: Path) -> bool:
    return any(path.name != RECEIPT for path in out.rglob("*.safetensors"))


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}"
