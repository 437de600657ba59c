"""A diffusers pipeline watched step by step: hooks, noise levels, timesteps, the replayed denoiser."""
