"""Sphinx configuration. The build needs no network.

Lists of public names exist only in the package: ``_public_api`` writes the reference pages from
each module's ``__all__``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")

import matplotlib as mpl
from docutils import nodes

import spectool
from spectool.backends import execution
from spectool.backends.cpu import SERIAL_BELOW
from spectool.eigen import filters
from spectool.functions import choice
from spectool.functions.methods import dense
from spectool.functions.methods import lanczos as lanczos_fa
from spectool.kernels import dia, formats, lanczos
from spectool.preconditioners import gmres_polynomial, monitor, polynomial, selection
from spectool.spectrum import estimate

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_extensions"))
import public_api

project = "spectool"
author = "The spectool developers"
copyright = author
version = release = spectool.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]

# Intersphinx downloads other projects' indices, so a build asks for it.
if os.environ.get("SPECTOOL_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
    }

# Readers load MathJax from its default server; set this to a copy for pages that work offline.
if os.environ.get("SPECTOOL_DOCS_MATHJAX"):
    mathjax_path = os.environ["SPECTOOL_DOCS_MATHJAX"]

exclude_patterns = ["_build", "examples", "_templates", "_extensions"]
templates_path = ["_templates"]
nitpicky = False
show_warning_types = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
# Constants of the package that the prose quotes: a changed value changes the page.
myst_substitutions = {
    "STEPS": str(estimate.STEPS),
    "DEGREES": ", ".join(map(str, selection.DEGREES)),
    "FEWEST": str(selection.FEWEST),
    "LOW_ENDS": " and ".join(f"{c:g}" for c in selection.LOW_ENDS),
    "SAVING": f"{1 - selection.MARGIN:.0%}".replace("%", " %"),
    "SERIAL_BELOW": f"{SERIAL_BELOW:,}".replace(",", " "),
    "CHUNK": f"{lanczos.CHUNK:,}".replace(",", " "),
    "LANES": str(formats.LANES),
    "MOST_DIAGONALS": str(dia.MOST),
    "DEEPEST": str(execution.DEEPEST),
    "HALF_GAIN": str(execution.HALF_GAIN),
    "GAIN": f"{execution.GAIN:g}",
    "REPAID": str(execution.REPAID),
    "REORDERED": f"{execution.REORDERED:,}".replace(",", " "),
    "SINGLE_FROM": f"{polynomial.SINGLE_FROM >> 20} MiB",
    "WATCH": str(sum(monitor.ROUNDS)),
    "MOST_STEPS": str(gmres_polynomial.MOST_STEPS),
    "MAX_BASIS": f"{lanczos_fa.MAX_BASIS_BYTES / 2**30:g} GiB",
    "MAX_N": str(dense.MAX_N),
    "AMPLIFICATION": f"{choice.MOST_AMPLIFIED:.0e}".replace("e+0", "e"),
    "UNPROBED": str(choice.UNPROBED),
    "PRICED_FROM": f"{choice.PRICED_FROM:,}".replace(",", " "),
    "MAX_DEGREE": str(filters.MAX_DEGREE),
    "SHARPNESS": f"{filters.SHARPNESS:g}",
    "SUPPRESSION": f"{filters.SUPPRESSION:.0e}".replace("e+0", "e"),
}

bibtex_bibfiles = ["refs.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "unsrt"

autosummary_generate = public_api.write(spectool, HERE)
autosummary_context = {
    "described_methods": public_api.Described(
        "spectool", ("function", "classmethod", "staticmethod")
    ),
    "described_properties": public_api.Described("spectool", ("property", "cached_property")),
}
autodoc_typehints = "none"
add_module_names = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "reference/generated/backreferences",
    "doc_module": ("spectool",),
    "within_subsection_order": "public_api.ReadingOrder",
    "capture_repr": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 30,
    "remove_config_comments": True,
}
mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

html_theme = "pydata_sphinx_theme"
html_title = "spectool"
html_static_path = ["_static"]
html_css_files = ["spectool.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}


def _keep_literals_whole(_app, _what, _name, _object, _options, lines):
    """Summaries end at the first " . ", also inside a literal such as ``w . grad u``."""
    lines[:] = [line.replace(" . ", " \N{MIDDLE DOT} ") if "``" in line else line for line in lines]


def _trim_blocks(_app, doctree):
    """Doctests in Markdown end with a blank line, which no page needs to show."""
    for node in doctree.findall(nodes.literal_block):
        if node.rawsource == node.astext() and node.rawsource.endswith("\n"):
            node.rawsource = node.rawsource.rstrip("\n")
            node[:] = [nodes.Text(node.rawsource)]


def setup(app):
    app.connect("doctree-read", _trim_blocks)
    app.connect("autodoc-process-docstring", _keep_literals_whole)
