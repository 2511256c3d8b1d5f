"""Renderers: gaussians to images."""

from .base import SplatRenderer, make_renderer

__all__ = ["SplatRenderer", "make_renderer"]
