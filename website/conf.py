"""The site's settings, which Sphinx reads. `website/build.py` gathers its pages and calls it."""

from meanet_jax import __version__

project = "meanet_jax"
copyright = "the authors of meanet_jax, Apache-2.0"
version = release = __version__
extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["diagrams.css"]
html_title = f"meanet_jax {__version__}"
html_show_sphinx = False
html_copy_source = False

# The pages are also read on the repository's own site: its anchors.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# A block of the documents is Python only where its fence says so.
highlight_language = "none"
smartquotes = False  # flags begin with two dashes

# Docstrings are written with Markdown's single backticks.
default_role = "literal"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
