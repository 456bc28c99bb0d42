"""The settings in training configs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from freemcg.messages.errors import InvalidValue
from freemcg.training.data import Augmentation


class Training(BaseModel):
    """The settings in every training config."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field("digits", description="'digits', a folder of pictures, or a file: see load_training_images")
    channels: int = Field(1, ge=1, le=3)
    image_size: int = Field(32, ge=8)
    steps: int = Field(2000, ge=1)
    batch_size: int = Field(64, ge=1, description="images per step and process")
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "warmup_stable_decay"] = Field("cosine", description="see freemcg.training.schedule")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises")
    decay: float = Field(0.2, gt=0, le=1, description="last share of the steps, over which warmup_stable_decay falls")
    weight_decay: float = Field(0.0, ge=0)
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights that are saved")
    augment: Augmentation = Augmentation()
    checkpoint_every: int = Field(500, ge=1)
    seed: int = 0


class DenoiserTraining(Training):
    """Config of `freemcg train denoiser`."""

    start_from: str | None = Field(None, description="folder of a denoiser from whose weights training starts")
    network: dict[str, Any] = Field(default_factory=dict, description="arguments of diffusers.UNet2DModel")
    scheduler: dict[str, Any] = Field(default_factory=dict, description="arguments of diffusers.DDPMScheduler")
    ema: float | None = Field(0.999, gt=0, lt=1)
    holdout: float = Field(0.0, ge=0, lt=1, description="share of the images that only the checks see")
    check_every: int | None = Field(None, ge=1, description="steps between checks; the best weights are kept")
    patience: int | None = Field(None, ge=1, description="training stops after this many checks without improvement")
    samples_every: int | None = Field(None, ge=1, description="steps between pictures of samples")

    @model_validator(mode="after")
    def _checks_have_images(self) -> DenoiserTraining:
        if self.check_every is not None and self.holdout == 0:
            raise InvalidValue("check_every needs images that training does not see; set holdout, such as 0.05")
        if self.patience is not None and self.check_every is None:
            raise InvalidValue("patience counts checks; set check_every too")
        return self
