"""Learned choices among classical designs, completed spectra, and predicted coefficients.

``train`` needs torch, and is imported where it is used.
"""

from spectool.learned.completion import CompletedSpectrum, completed
from spectool.learned.decision import Decision, choose
from spectool.learned.features import features, scaled_probe
from spectool.learned.model import Network, network
from spectool.learned.portfolio import NAMES, Member, member
from spectool.learned.predictor import Prediction, Predictor

__all__ = [
    "NAMES",
    "CompletedSpectrum",
    "Decision",
    "Member",
    "Network",
    "Prediction",
    "Predictor",
    "choose",
    "completed",
    "features",
    "member",
    "network",
    "scaled_probe",
]
