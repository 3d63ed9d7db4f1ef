"""How pages are rendered: what a report and the page of a search share. Styles that they share are in ``page.css``."""

from __future__ import annotations

import math

import jinja2

PACKAGE = "latency_db.report"


def environment(package: str) -> jinja2.Environment:
    """Templates of a package, which may include this package's. Every text in them is escaped.

    Args:
        package: its name; the templates lie beside its modules.
    """
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, ".") for name in dict.fromkeys((package, PACKAGE))]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(ms=ms, percent=percent, signed=signed, interval=interval, factor=factor)
    return made


def ms(value: float) -> str:
    """Three decimals at most, four significant digits at least where they are needed."""
    if not math.isfinite(value):
        return "–"
    decimals = 1 if abs(value) >= 1000 else 2 if abs(value) >= 100 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{decimals}f}".replace("-", "−")


def percent(value: float, decimals: int = 2) -> str:
    """A share in percent; a dash for what is not finite."""
    return f"{value:.{decimals}%}" if math.isfinite(value) else "–"


def signed(value: float) -> str:
    """A deviation in percent, with its sign."""
    return f"{value:+.2%}".replace("-", "−") if math.isfinite(value) else "–"


def interval(value: float) -> str:
    """Half a confidence interval, over the value."""
    return f"±{value:.1%}" if math.isfinite(value) else "–"


def factor(value: float) -> str:
    """Four decimals."""
    return f"{value:.4f}".replace("-", "−") if math.isfinite(value) else "–"
