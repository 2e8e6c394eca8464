"""Classifiers with one signature, `forward(magnitude, phase) -> logits`; importing a file here registers its
backbones."""

from speechxai.classifiers import acoustic, cnn, dvector, external, ssl, whisper  # noqa: F401
from speechxai.classifiers.base import BACKBONES, Classifier, chunks, predict, probabilities
from speechxai.classifiers.external import build

__all__ = ["BACKBONES", "Classifier", "build", "chunks", "predict", "probabilities"]
