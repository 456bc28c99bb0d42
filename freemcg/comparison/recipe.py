"""A comparison as data: which methods with which settings, which measures, and what a paper found.

A recipe is a YAML file. Those in `configs/compare` have names, one for each paper.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from freemcg.files.config import config_folder, read_config
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, make

LABEL = re.compile(r"[\w(][\w .()+=-]*")
FREEMCG, CONTRIBUTION, SMOOTHED = "freemcg", "freemcg_contribution", "freemcg_contribution_smoothed"
PICTURES = "pictures"
"""The folder of the pictures, beside those of the searches and the tables."""
NEAREST = "nearest_image"
OURS = (FREEMCG, CONTRIBUTION, SMOOTHED)


def _file_name(value: str) -> str:
    if value and not LABEL.fullmatch(value):
        raise InvalidValue(f"the label {value!r} names files; use letters, digits, spaces and any of . ( ) + = -")
    return value


Label = Annotated[str, AfterValidator(_file_name)]


class Entry(BaseModel):
    """A method that takes part, under a name of its own.

    Attributes:
        method: `freemcg`, `freemcg_contribution`, or one of `baselines.available()`.
        label: its name in tables, and of its files. The default is that of the method.
        cost: the most that its map may cost, in queries or gradients. `None` is the cost of the comparison. Several
            base-points (`n_base`, `starts`) multiply it.
        settings: arguments of its constructor, or settings of FreeMCG. The base-point `data_mean` is the mean of the
            reference images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    label: Label = ""
    cost: int | None = Field(None, ge=1)
    settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The label, or the method's name without one."""
        return self.label or self.method

    @property
    def ours(self) -> bool:
        """Whether FreeMCG makes its maps."""
        return self.method in OURS

    @property
    def changes(self) -> dict[str, Any]:
        """What its maps depend on beyond the settings of the comparison; empty for a method by its own name."""
        changed = self.label or self.cost is not None or self.settings
        return {"method": self.method, "cost": self.cost, "settings": self.settings} if changed else {}

    @property
    def remark(self) -> str:
        """What a reader of a table must know of it; empty if there is nothing."""
        if self.method != "rise" or not self.settings.get("centred", True):
            return ""
        return f"{self.name}: subtracts the mean answer; the published method does not, and is rise with centred: false"


class Search(BaseModel):
    """A search for counterfactuals that takes part.

    Attributes:
        label: its name in tables, and that of its folder. The default is that of the method.
        method: `freemcg`, or another search of `freemcg counterfactual --method` that needs no references.
        settings: those of FreeMCG, as a config of `freemcg counterfactual` holds them. A seed that is not among them is
            that of the comparison.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: Label = ""
    method: str = FREEMCG
    settings: dict[str, Any] = {}

    @field_validator("method")
    @classmethod
    def _needs_no_references(cls, value: str) -> str:
        if value == NEAREST:
            raise InvalidValue(f"{NEAREST} needs references, which a recipe's searches do not get; leave it out")
        return value

    @field_validator("settings")
    @classmethod
    def _are_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        make(Settings, value)
        return value

    @property
    def name(self) -> str:
        """The label, or the method's name without one."""
        return self.label or self.method


class Published(BaseModel):
    """What a paper found.

    Attributes:
        source: the paper and its data, in words.
        figures: by the label of a method, then by the column of a measure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str
    figures: dict[str, dict[str, float]]


class Recipe(BaseModel):
    """A comparison. Every field may be left out.

    Attributes:
        images: the number of bundled digits, if no pictures are given.
        queries: the most that one map may cost.
        steps: the steps of insertion and deletion.
        methods: entries, or names of methods; `None` takes a few that the model allows.
        measures: names of further measures.
        against: the label of the method that the others are tested against; `None` takes the first.
        settings: those of FreeMCG.
        published: what the paper found.
        searches: searches for counterfactuals, which are compared after the maps.
        searched: the pictures that they are given, from the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images: int = Field(8, ge=1)
    queries: int = Field(256, ge=3)
    steps: int = Field(32, ge=1)
    methods: tuple[Entry, ...] | None = None
    measures: tuple[str, ...] = ()
    against: str | None = None
    settings: dict[str, Any] = {}
    published: Published | None = None
    searches: tuple[Search, ...] = ()
    searched: int = Field(8, ge=0)

    @field_validator("methods", mode="before")
    @classmethod
    def _names_too(cls, value: Any) -> Any:
        return [as_entry(each) for each in value] if isinstance(value, list) else value

    @field_validator("searches")
    @classmethod
    def _each_once(cls, value: tuple[Search, ...]) -> tuple[Search, ...]:
        names = [search.name for search in value]
        for name in names:
            if names.count(name) > 1 or name == PICTURES or name.endswith(".csv"):
                raise InvalidValue(f"each search has a folder of its own, and {name!r} is taken; give it another label")
        return value

    def named(self, names: Sequence[str]) -> list[Entry]:
        """Its entries of these labels; another name is that of a method."""
        own = {entry.name: entry for entry in self.methods or ()}
        return [own.get(name, Entry(method=name)) for name in names]


def as_entry(method: Any) -> Entry:
    """An entry from a method's name, from a mapping of an entry's fields, or itself.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(method, Entry):
        return method
    fields = {"method": method} if isinstance(method, str) else method
    if not isinstance(fields, dict) or "method" not in fields:
        raise InvalidValue(f"a method is a name, or a mapping with 'method' and 'label', got {method!r}")
    return make(Entry, fields, source="a method")


def read_recipe(config: str | None) -> Recipe:
    """A recipe by its name or from a file. A file without `methods` and `searches` holds settings of FreeMCG.

    Raises:
        FileNotFoundError: there is no such recipe, and no config of that name.
        ValueError: a key or a value is wrong.
    """
    if config is None:
        return Recipe()
    if not Path(config).is_file() and config in recipes():
        config = f"compare/{config}"
    try:
        values, source = read_config(config)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; bundled recipes of comparisons are {', '.join(recipes())}") from None
    if "methods" not in values and "searches" not in values:
        make(Settings, values, source=source)
        return Recipe(settings=values)
    recipe = make(Recipe, values, source=source)
    make(Settings, recipe.settings, source=f"{source}, settings")
    return recipe


def recipes() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(path.stem for path in (config_folder() / "compare").glob("*.yaml"))
