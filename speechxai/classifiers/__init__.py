"""Classifiers with one signature, `forward(magnitude, phase) -> logits`; importing a file here registers its backbones."""

from speechxai.classifiers import acoustic as acoustic
from speechxai.classifiers import cnn as cnn
from speechxai.classifiers import external as external
from speechxai.classifiers import ssl as ssl
from speechxai.classifiers.base import BACKBONES, Classifier, build, chunks, predict, probabilities

__all__ = ["BACKBONES", "Classifier", "build", "chunks", "predict", "probabilities"]
