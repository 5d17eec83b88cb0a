"""How templates become pages: everything is escaped, and a name that is not given is an error."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reft.pages.marking import marked


def environment_of(package: str, folder: str) -> Environment:
    """The templates of a package's folder, and behind them those that all pages share.

    Whatever is put into a template is text; only what passes through `|safe` may be markup, and that is ours.
    """
    loader = ChoiceLoader([PackageLoader(package, folder), PackageLoader("reft.pages", ".")])
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    made.filters["marked"] = marked
    return made
