"""The report of a run: one HTML file that needs nothing else, no scripts, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from spectool.bench.machine import Machine
from spectool.bench.pictures import (
    Picture,
    convergence_pictures,
    density_pictures,
    filter_pictures,
    profile_pictures,
)
from spectool.bench.records import SLACK, TIE, Outcome, Row, grouped, score, winners
from spectool.bench.run import Run
from spectool.bench.tables import count_text, error_text, result_text, seconds_text
from spectool.bench.tasks import DESCRIPTIONS

_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6877; --line: #dfe4ea; --ours: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: #fff; font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .2rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 75ch; }
.soft { color: var(--soft); }
.warning { border-left: 4px solid #d55e00; padding-left: .8rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem 1.5rem;
  margin: 1.2rem 0; padding: 1rem 1.2rem; background: #f6f8fa; border-radius: 8px; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: .92rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; vertical-align: baseline;
  font-variant-numeric: tabular-nums; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
td:first-child, th:first-child { text-align: left; padding-left: .2rem; }
tbody + tbody th { border-top: 1px solid var(--line); }
tbody th { padding-top: .5rem; font-weight: 600; }
tbody td:first-child { padding-left: 1rem; }
small { display: block; max-width: 26rem; color: var(--soft); font-size: .78rem; line-height: 1.3;
  white-space: normal; }
.ours span { color: var(--ours); font-weight: 600; }
.best { font-weight: 700; color: #00724f; }
.scores { max-width: 46rem; }
.bad { color: #b34000; font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr));
  gap: 1.2rem 1.6rem; margin-top: .8rem; }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; font-weight: 600; }
@media (max-width: 600px) { body { padding: 1.2rem .8rem 3rem; } h1 { font-size: 1.5rem; }
  th, td { padding: .25rem .35rem; } table { font-size: .8rem; }
  tbody td:first-child { padding-left: .2rem; min-width: 8.5rem; white-space: normal; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .scroll { overflow: visible; }
  table { font-size: 8.5pt; } tbody, tr { break-inside: avoid; }
  dl { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""

_PICTURES = (
    (
        "Convergence",
        "True relative residual against all products with A, those inside M and its set-up "
        "included. CG is optimal per product, so a polynomial preconditioner cannot win here; what "
        "it can win is seconds, by fused products and fewer reductions.",
        convergence_pictures,
    ),
    (
        "Performance profiles",
        "Fraction of the solves that a method finished within a factor of the best (Dolan and "
        "Moré, 2002); higher is better, unsolved problems never count.",
        profile_pictures,
    ),
    (
        "Spectral densities",
        "What one probe knows of A: the Ritz values (ticks) and the density estimated from them.",
        density_pictures,
    ),
    (
        "Spectral filters",
        "The polynomial behind the eigenpairs, near the window that it keeps.",
        filter_pictures,
    ),
)


def write_report(run: Run, folder: Path) -> Path:
    """Write ``index.html`` and ``results.jsonl`` into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    run.write_jsonl(folder / "results.jsonl")
    page = folder / "index.html"
    page.write_text(as_html(run), encoding="utf-8")
    return page


def as_html(run: Run) -> str:
    """Return the whole page."""
    parts = [
        f"<h1>{escape(run.suite.title)}</h1>",
        f'<p class="soft">{escape(_subtitle(run))}</p>',
        _interruption(run),
        _scores(run.rows),
        _machine(run.machine, run.seed),
        *(_task_section(task, rows) for task, rows in _by_task(run.rows).items()),
        *(_picture_section(title, text, draw(run)) for title, text, draw in _PICTURES),
        _method_notes(run),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.suite.title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _subtitle(run: Run) -> str:
    matrices = len({row.matrix for row in run.rows})
    return (
        f"{len(run.rows)} results on {matrices} matrices in {run.seconds:.0f} s, {run.machine.date}"
    )


def _interruption(run: Run) -> str:
    if not run.interrupted:
        return ""
    text = "Interrupted by Ctrl-C: this is what was finished before."
    return f'<p class="warning">{escape(text)}</p>'


def _by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return tasks


def _scores(rows: Sequence[Row]) -> str:
    """Return the summary: one line per task, wins and losses alike."""
    names = (
        "spectool is", "first", "tied", "behind", "undecided",
        "spectool not right", "scipy not right",
    )  # fmt: skip
    lines = []
    for task, of_task in _by_task(row for row in rows if row.method).items():
        result = score(of_task)
        bad = [row for row in of_task if row.outcome not in (Outcome.MET, Outcome.UNVERIFIED)]
        cells = (
            result.won, result.tied, result.lost, result.open,
            f"{sum(row.ours for row in bad)} of {sum(row.ours for row in of_task)}",
            f"{sum(not row.ours for row in bad)} of {sum(not row.ours for row in of_task)}",
        )  # fmt: skip
        lines.append(
            f"<tr><td>{escape(task)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        )
    if not lines:
        return '<p class="warning">Nothing was finished.</p>'
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    result = score(row for row in rows if row.method)
    total = result.won + result.tied + result.lost + result.open
    sentence = (
        f"Of {total} contests spectool gave the first right answer in {result.won}, tied in "
        f"{result.tied}, was behind in {result.lost}; in {result.open} nobody's answer is known "
        "to be right."
    )
    return (
        f"<p><strong>{escape(sentence)}</strong></p>\n"
        f'<div class="scroll scores"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _machine(machine: Machine, seed: int) -> str:
    entries = {
        "machine": f"{machine.cpu}, {machine.cores} cores, {machine.system}",
        "threads": f"spectool's kernels {machine.threads}, scipy's sparse products 1",
        "BLAS threads, all contestants": machine.blas,
        "copy bandwidth of one thread": f"{machine.bandwidth:g} GB/s",
        "load before the run": "unknown" if machine.load < 0 else f"{machine.load:g}",
        "versions": ", ".join(
            [f"Python {machine.python}", *(f"{k} {v}" for k, v in machine.versions.items())]
        ),
        "commit": machine.commit or "not a checkout",
        "seed": str(seed),
    }
    terms = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
        for name, text in entries.items()
    )
    return f"<dl>{terms}</dl>"


def _task_section(task: str, rows: Sequence[Row]) -> str:
    shown = [name for name, show in _COLUMNS.items() if any(show(row) != "–" for row in rows)]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("method", "result", *shown))
    bodies = "\n".join(_group(group, shown) for group in grouped(rows).values())
    return (
        f"<h2>{escape(task)}</h2>\n"
        f'<p class="soft">{escape(DESCRIPTIONS.get(task, ""))}</p>\n'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n{bodies}</table></div>'
    )


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "total": lambda row: seconds_text(row.seconds),
    "set-up": lambda row: seconds_text(row.setup_seconds) if row.setup_seconds else "–",
    "matvecs": lambda row: count_text(row.matvecs),
    "reductions": lambda row: count_text(row.reductions),
    "true error": lambda row: error_text(row.error),
    "own estimate": lambda row: error_text(row.estimate),
}


def _group(rows: Sequence[Row], shown: Sequence[str]) -> str:
    """Return the rows of one matrix, with its name above them."""
    best = winners(rows)
    first = rows[0]
    heading = f"{first.matrix}, n = {first.n:,}, {first.nnz:,} entries"
    lines = [f'<tr><th colspan="{len(shown) + 2}" scope="rowgroup">{escape(heading)}</th></tr>']
    for row in rows:
        style = "best" if row in best else "" if row.outcome in _FINE else "bad"
        remark = f"<small>{escape(row.note)}</small>" if row.note else ""
        cells = "".join(f"<td>{escape(_COLUMNS[name](row))}</td>" for name in shown)
        lines.append(
            f'<tr class="{"ours" if row.ours else "rival"}">'
            f"<td><span>{escape(row.method)}</span>{remark}</td>"
            f'<td class="{style}">{escape(result_text(row, rows))}</td>{cells}</tr>'
        )
    return f"<tbody>{''.join(lines)}</tbody>"


_FINE = (Outcome.MET, Outcome.UNVERIFIED)


def _picture_section(title: str, text: str, pictures: Iterable[Picture]) -> str:
    figures = "\n".join(
        f"<figure><figcaption>{escape(picture.caption)}</figcaption>{picture.svg}</figure>"
        for picture in pictures
    )
    if not figures:
        return ""
    return (
        f'<h2>{escape(title)}</h2>\n<p class="soft">{escape(text)}</p>\n'
        f'<div class="grid">{figures}</div>'
    )


def _method_notes(run: Run) -> str:
    notes = (
        run.suite.remarks,
        f"Fastest: fewest total seconds, set-up included, among answers whose true residual or "
        f"error is within {SLACK:g} times the tolerance; times within {100 * (TIE - 1):.0f}% of "
        "the fastest tie. Total seconds are the median of the timed runs; methods take turns. Runs "
        f"under half a second are timed {run.suite.repeats} times, longer ones once; each attempt "
        f"has {run.suite.limit:g} s. Kernels are compiled and machine costs measured before.",
        "Matvecs are all products with A, counted in a separate run: inside M, filters and set-up "
        "too. scipy's cg makes three reductions per iteration (counted by its callback) and one "
        "for the norm of b; a probe of k steps at most 3 k. ARPACK and funm_multiply_krylov do "
        "not tell theirs. expm_multiply is counted on a LinearOperator, where it also estimates "
        "norms; it works to double precision whatever is asked.",
        "True errors of f(A) b come from a dense eigendecomposition (n up to 1500) or from sine "
        "transforms (poisson). Where neither is exact to a tenth of the tolerance the result says "
        "“no reference”, and no one wins. scipy's funm_multiply_krylov measures its last update "
        "against the norm of b, not of f(A) b, makes at most 20 restarts of 20 steps by default, "
        "and gives no warning.",
        "Eigenvalues are missed where another method's Rayleigh quotients are lower, which proves "
        "it. Eigenpair residuals are relative to the norm of A; both methods run ARPACK with "
        "its default tolerance (working precision; looser ones miss multiple eigenvalues) and end "
        "with a Rayleigh-Ritz step.",
    )
    items = "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    return f'<h2>How this was measured</h2>\n<div class="soft">{items}</div>'
