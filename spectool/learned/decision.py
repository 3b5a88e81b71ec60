"""The decision: which design of the portfolio, guarded by a default that is left only for a reason.

Source
    Our own. Scores are the mean of what the selector says and of what CG simulated on the completed
    spectrum takes.
Deviations
    The default stays where the probe is unlike those of training, and where the gain predicted is
    small. Whoever chose only where both agree would do worse: on synthetic spectra the simulation
    alone is wrong twice as often as the network.
Cost
    No products with A. "selector": one network and two designs. "completion" and "both": two
    networks, sixteen designs, and as many simulated runs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from spectool._types import FloatArray
from spectool.errors import InputError
from spectool.learned.completion import CompletedSpectrum, completed, completion_features
from spectool.learned.features import (
    Probe,
    degree_features,
    probe_features,
    scaled_probe,
)
from spectool.learned.model import Network, network
from spectool.learned.portfolio import NAMES, Member, member
from spectool.polynomials.chebyshev import checked_degree
from spectool.spectrum import Spectrum

Judge: TypeAlias = Literal["selector", "completion", "both"]
JUDGES = ("selector", "completion", "both")
MARGIN = 0.02
"""Share of matvecs that must be predicted saved for the default to be left. Between 0 and 0.05 it
made no difference on synthetic spectra."""
DEGREES = (2, 40)
"""Degrees of training."""


class Decision(NamedTuple):
    """A design, and why.

    ``scores`` are predicted matvecs over those of plain CG by name, none where ``unlike``: probe or
    degree are outside of training. ``distance`` is how far, in units of the threshold. ``overhead``
    is the score of the design chosen, less flattering: corrected by how much better choices looked
    than they were on held-out spectra, and at least 1, which Krylov optimality demands; nan without
    scores.
    """

    member: Member
    reason: str
    scores: dict[str, float]
    unlike: bool
    distance: float
    overhead: float = float("nan")


def default_name(degree: int) -> str:
    """Return the classical design that is left only for a reason."""
    return "chebyshev 1" if degree <= 12 else "chebyshev 1/2"


def choose(
    spectrum: Spectrum,
    degree: int,
    *,
    judge: Judge = "both",
    margin: float = MARGIN,
    default: str | None = None,
    probe: Probe | None = None,
    selector: Network | None = None,
    completion: Network | None = None,
) -> Decision:
    """Choose a design of one degree for CG on an operator that has been probed.

    Parameters
    ----------
    spectrum : Spectrum
        With positive Ritz values.
    degree : int
        Products with A per application of M, at least 1.
    judge : {"selector", "completion", "both"}
        Who scores: the network; CG on the completed spectrum; or the mean of both.
    margin : float
        Share of matvecs that must be predicted saved.
    default : str, optional
        The member that is left only for a reason; `default_name` of the degree.
    probe : Probe, optional
        `scaled_probe` of the spectrum, where it is known.
    selector, completion : Network, optional
        Those that are shipped by default.

    Returns
    -------
    Decision
        Its member is positive on the safe interval whatever the networks say.

    Raises
    ------
    InputError
        If the judge or the default is unknown, the degree not in [1, 500], or a Ritz value not
        positive.

    Examples
    --------
    >>> import spectool as st
    >>> spectrum = st.estimate_spectrum(st.gallery.poisson((60, 60)), rng=161803398)
    >>> found = choose(spectrum, 8)
    >>> found.member.recurrence.degree, found.unlike
    (8, False)
    """
    if judge not in JUDGES:
        raise InputError(f"judge must be one of {JUDGES}; got {judge!r}.")
    degree = checked_degree(degree, least=1, most=500)
    probe = scaled_probe(spectrum) if probe is None else probe
    name = default_name(degree) if default is None else default
    kept = Decision(member(name, spectrum, degree, probe=probe), "", {}, False, 0.0)
    shared = probe_features(probe, complete=spectrum.complete)
    inner = min(max(degree, DEGREES[0]), DEGREES[1])
    row = np.concatenate([shared, degree_features(probe.lowest, inner)])
    distance, opinions = 0.0, []
    optimism = 0.0
    if judge != "completion":
        net = selector or network("selector")
        distance = float(net.distance(row)[0]) / net.farthest
        opinions.append(net(row)[0])
        optimism = net.optimism
    if judge != "selector":
        net = completion or network("completion")
        whole = completion_features(spectrum, probe, shared=shared)
        distance = max(distance, float(net.distance(whole)[0]) / net.farthest)
    kept = kept._replace(distance=distance, unlike=distance > 1 or degree != inner)
    if kept.unlike:
        what = "the probe" if distance > 1 else f"degree {degree}"
        reason = f"{what} is unlike those of training: {name}, the classical default"
        return kept._replace(reason=reason)
    if judge != "selector":
        virtual = completed(spectrum, probe=probe, net=net)
        opinions.append(simulated(virtual, spectrum, degree, probe))
    scores = dict(zip(NAMES, np.mean(opinions, axis=0), strict=True))
    best = min(NAMES, key=lambda each: scores[each])
    told = {each: float(np.exp(score)) for each, score in scores.items()}
    gain = 1.0 - told[best] / told[name]
    chosen, reason = best, f"{best} is predicted to save {gain:.0%} of the matvecs of {name}"
    if gain <= margin:
        chosen = name
        reason = f"no design is predicted to save {margin:.0%} of the matvecs of {name}"
    overhead = max(told[chosen] * float(np.exp(optimism / len(opinions))), 1.0)
    kept = kept._replace(reason=reason, scores=told, overhead=overhead)
    if chosen != name:
        kept = kept._replace(member=member(chosen, spectrum, degree, probe=probe))
    return kept


def simulated(
    virtual: CompletedSpectrum, spectrum: Spectrum, degree: int, probe: Probe
) -> FloatArray:
    """Return the logarithm of every member's overhead on a completed spectrum, shape (members,)."""
    plain = virtual.cg_iterations(None)
    known: dict[bytes, float] = {}
    found = np.empty(len(NAMES))
    for i, name in enumerate(NAMES):
        q = member(name, spectrum, degree, probe=probe).recurrence
        key = q.a.tobytes() + q.w.tobytes()
        if key not in known:
            known[key] = virtual.log_overhead(q, plain)
        found[i] = known[key]
    return found
