"""What differs between kinds of diffusion models: how the clean image is predicted from a noisy one."""
