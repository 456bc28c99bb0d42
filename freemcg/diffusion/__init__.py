"""A pretrained diffusion model as a denoiser: the one room that knows diffusers."""
