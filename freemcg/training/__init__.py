"""Training of the models that an explanation needs: a denoiser, a classifier to explain, a VAE."""

from freemcg.training.classifier import ClassifierTraining, train_classifier
from freemcg.training.denoiser import train_denoiser
from freemcg.training.settings import DenoiserTraining
from freemcg.training.vae import VaeTraining, train_vae

__all__ = [
    "ClassifierTraining",
    "DenoiserTraining",
    "VaeTraining",
    "train_classifier",
    "train_denoiser",
    "train_vae",
]
