"""Losses around a sliding window, fused into one kernel: SSIM and the pixel-wise means beside it."""
