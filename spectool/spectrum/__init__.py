"""What is known of the eigenvalues of an operator."""

from spectool.spectrum.estimate import estimate_spectrum, probe, random_start
from spectool.spectrum.kpm import KpmDensity, kpm_density
from spectool.spectrum.spectrum import Bound, Certificate, CountEstimate, Scaling, Spectrum

__all__ = [
    "Bound",
    "Certificate",
    "CountEstimate",
    "KpmDensity",
    "Scaling",
    "Spectrum",
    "estimate_spectrum",
    "kpm_density",
    "probe",
    "random_start",
]
