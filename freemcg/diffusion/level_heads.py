"""A UNet of `diffusers` whose attention heads have another width at each level.

`diffusers` loads and fetches it too, by this module's name in `model_index.json`, once the module is imported.
"""

from __future__ import annotations

import functools
from typing import Any

from diffusers import ModelMixin, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES

__all__ = ["LevelHeadsUNet", "ModelMixin"]  # by its base in the same module, diffusers knows how to load a class
LOADABLE_CLASSES[__name__] = LOADABLE_CLASSES["diffusers"]  # else it fetches no repository that names this module


class LevelHeadsUNet(UNet2DModel):  # type: ignore[misc]
    """`diffusers.UNet2DModel` with a width of attention heads for each level.

    Networks with a fixed number of heads are of this kind (Nichol, Dhariwal 2021). The arguments are those of
    `UNet2DModel`, but `attention_head_dim` holds the width for each level, from the finest. The middle has that of the
    coarsest. For a level without attention the width means nothing. `UNet2DModel` itself raises an error for such an
    argument, so it never computes with other heads.
    """

    @functools.wraps(UNet2DModel.__init__)  # type: ignore[misc]  # diffusers reads the names of the arguments
    def __init__(self, **config: Any) -> None:
        widths = config.pop("attention_head_dim")
        super().__init__(**config, attention_head_dim=None)  # one head of all channels, until it is divided here
        self.register_to_config(attention_head_dim=widths)
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        for block, width in zip(blocks, [*widths, widths[-1], *reversed(widths)], strict=True):
            for part in block.modules():
                if isinstance(part, Attention):
                    part.heads = part.sliceable_head_dim = part.inner_dim // width
                    part.scale = width**-0.5
