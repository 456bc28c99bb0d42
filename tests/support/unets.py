"""A small UNet of diffusers, with random weights."""

import diffusers


def tiny_unet(**settings):
    return diffusers.UNet2DModel(
        **{
            "sample_size": 8,
            "in_channels": 1,
            "out_channels": 1,
            "layers_per_block": 1,
            "block_out_channels": (4, 8),
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "norm_num_groups": 2,
            "add_attention": False,
            **settings,
        }
    ).eval()
