"""What all pages for people share: their style, how templates become a page, and text that came from elsewhere.

A page is one file that asks for nothing else. `style.css.j2` has the colours of both schemes, tables that become cards
on a phone and the marks; `words.html.j2` writes what others wrote, with what cannot be seen spelled out.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without Jinja.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
