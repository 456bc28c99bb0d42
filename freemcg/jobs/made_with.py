"""All that the results in a folder depend on beside the images: what a second start must agree with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freemcg.explainer import FreeMCG
from freemcg.jobs.plan import Task
from freemcg.messages.errors import InvalidValue
from freemcg.networks.source import source

SETTINGS = "settings.json"
SHOWN = 80


def job_settings(explainer: FreeMCG, task: Task, target: int | str | None) -> dict[str, Any]:
    """The one list of it."""
    settings, objective = explainer.settings.record(), explainer.settings.objective
    if not isinstance(objective, str):
        settings["objective"] += f":{source(objective)}"
    if task == "attribution":
        del settings["search"]
    else:
        settings = {key: settings[key] for key in ("objective", "search", "seed")}
    black_box = explainer.black_box
    return {
        "task": task,
        "target": target,
        "settings": settings,
        "black box": black_box.identity,
        **black_box.described,
        "denoiser": explainer.denoiser.identity,
    }


def check_made_with(out: Path, now: dict[str, Any]) -> None:
    """Refuse a folder whose results were made with other settings than `now`, which has the form of `job_settings`."""
    path = out / SETTINGS
    if not path.is_file():
        return
    try:
        then = json.loads(path.read_text())
        then, now = ({**each, **each["settings"]} for each in (then, json.loads(json.dumps(now))))
    except (ValueError, TypeError, KeyError):
        raise InvalidValue(f"{path} is not what a job writes; give another --out, or delete it") from None
    for key in now:
        if key != "settings" and then.get(key) != now[key]:
            raise InvalidValue(
                f"{out} holds results made with another {key} ({_shown(then.get(key))} then, {_shown(now[key])} now); "
                "give another --out, or delete it to start anew"
            )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}"
