"""Training: the loop around a loss function, its checkpoints and its records."""

from .config import SplatTrainerConfig
from .result import TrainingResult
from .trainer import SplatTrainer

__all__ = ["SplatTrainer", "SplatTrainerConfig", "TrainingResult"]
