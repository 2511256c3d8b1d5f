"""Torch functions behind the primitive builtins, one module a family."""
