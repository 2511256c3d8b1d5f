"""The gaussians: a model at rest and a model in training."""
