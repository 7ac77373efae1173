"""A page of HTML that needs no other file.

plotly.js comes from the plotly package. A content security policy keeps the page from loading
anything, whatever its parts do.
"""

import html
import string
from collections.abc import Sequence

from plotly.offline import get_plotlyjs

from meanet_jax.report.page.elements import part


def document(title: str, lead: str, sections: str, data: str, scripts: Sequence[str]) -> str:
  """The text of a page.

  Args:
    title, lead: texts of its head.
    sections: HTML.
    data: JSON that the scripts read, from `script_json`.
    scripts: names of the files beside this one that draw its plots, in order.
  """
  return string.Template(part("page.html")).substitute(
    title=html.escape(title),
    style=part("page.css"),
    lead=html.escape(lead),
    sections=sections,
    data=data,
    plotly=get_plotlyjs(),
    script="\n".join(map(part, scripts)),
  )
