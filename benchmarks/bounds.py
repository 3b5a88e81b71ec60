"""How safe and how sharp the ends of a probe are, against dense eigenvalues.

Every real symmetric matrix of the collection found on this machine (``SPECTOOL_DATA`` adds
folders) with at most MAX_N rows is probed from several seeds. Counted: draws where an end of the
interval is no bound, and where the usual choice, the largest Ritz value plus its residual, is none.
"""

import numpy as np

import spectool as st

MAX_N, DRAWS, SEED = 2_500, 20, 480_215_937


def main() -> None:
    """Print one line per probe length."""
    entries = st.collection.search(symmetric=True, max_rows=MAX_N)
    matrices = [st.collection.load(entry.name) for entry in entries if entry.field == "real"]
    truths = [np.linalg.eigvalsh(A.toarray()) for A in matrices]
    for steps in (24, 16):
        violated, naive, excess = 0, 0, []
        for A, truth in zip(matrices, truths, strict=True):
            slack = 1e-10 * np.abs(truth).max()  # eigvalsh's own error, generously
            for seed in range(SEED, SEED + DRAWS):
                spectrum = st.estimate_spectrum(A, steps=steps, rng=seed)
                low, high = spectrum.interval
                violated += bool(high < truth[-1] - slack or low > truth[0] + slack)
                top = spectrum.ritz_values[-1] + spectrum.ritz_residuals[-1]
                naive += bool(top < truth[-1] - slack)
                excess.append((high - truth[-1]) / np.abs(truth).max())
        print(
            f"{steps} steps, {len(matrices)} matrices, {DRAWS * len(matrices)} draws: "
            f"{violated} violated ends; theta + residual violated {naive} times; "
            f"median over-estimate {np.median(excess):.2%}"
        )


if __name__ == "__main__":
    main()
