"""The numbers of a plot: every measured value as CSV, and final values as a LaTeX table for papers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping

from dop.analysis.compare import LAST, Line
from dop.analysis.marl_eval import Results
from dop.analysis.statistics import FEWEST_SEEDS
from dop.visualise.curves import metric_words
from dop.visualise.report.numbers import LIMITLESS, over_seeds, span
from dop.visualise.texts import visible

COLUMNS = ("label", "algorithm", "environment", "seed", "env_steps", "metric", "value")


def as_csv(found: Results, algorithms: Mapping[str, str], metric: str) -> str:
    """One row for each seed and record with `metric`, by steps, without smoothing or averaging.

    Args:
        found: by task, then by label.
        algorithms: by label.
        metric: of the plot.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for task, by_label in found.items():
        for label, records in by_label.items():
            names = [visible(name) for name in (label, algorithms[label], task)]
            for record in sorted(records, key=lambda record: (record.seed, record.env_steps)):
                if metric in record.metrics:
                    table.writerow([*names, record.seed, record.env_steps, visible(metric), record.metrics[metric]])
    return text.getvalue()


def as_latex(found: Results, metric: str, *, fractions: Collection[str] = ()) -> str:
    """A table of `booktabs`, methods by tasks: means over seeds of final values with 95% intervals. Fewer than three seeds have their own
    values in place of an interval.

    Args:
        found: by task, then by label.
        metric: of the table.
        fractions: metrics that are fractions, written in percent.
    """
    lines = {task: {label: Line(label=label, entries=(), records=kept) for label, kept in own.items()} for task, own in found.items()}
    scored = {task: {label: line for label, line in own.items() if line.scores(metric).size} for task, own in lines.items()}
    labels = list(dict.fromkeys(label for own in scored.values() for label in own))
    rows = [[escaped(label), *(_cell(own.get(label), metric, metric in fractions) for own in scored.values())] for label in labels]
    body = "\n".join(f"    {' & '.join(row)} \\\\" for row in rows)
    return f"""\
% Needs \\usepackage{{booktabs}} in the preamble.
\\begin{{table}}
  \\centering
  \\caption{{{_caption(scored, metric)}}}
  \\begin{{tabular}}{{l{"r" * len(scored)}}}
    \\toprule
    {" & ".join(["Method", *map(escaped, scored)])} \\\\
    \\midrule
{body}
    \\bottomrule
  \\end{{tabular}}
\\end{{table}}
"""


def _cell(line: Line | None, metric: str, fraction: bool) -> str:
    if line is None:
        return "--"
    words = over_seeds(line.scores(metric), fraction=fraction, limits=(0.0, 1.0) if fraction else LIMITLESS)
    words = re.sub(r"(?<=\d),(?=\d)", "{,}", words)  # math mode sets minus signs right, but needs commas and spaces escaped
    formula = words.replace("%", "\\%").replace(" ", "\\ ")
    return f"${formula}$"


def _caption(scored: Mapping[str, Mapping[str, Line]], metric: str) -> str:
    """A description of the numbers."""
    counts = [line.scores(metric).size for own in scored.values() for line in own.values()] or [0]
    words = [f"{metric_words(metric)} at the end of training: mean of the last {LAST} evaluations, then over seeds"]
    words.append(f"{span(str(min(counts)), str(max(counts)))} seed{'' if max(counts) == 1 else 's'}")
    words += ["95% intervals by Student's t in square brackets"] if max(counts) >= FEWEST_SEEDS else []
    words += [f"values of fewer than {FEWEST_SEEDS} seeds in round brackets"] if any(1 < count < FEWEST_SEEDS for count in counts) else []
    return escaped("; ".join(words)) + "."


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{letter: f"{{{letter}}}" for letter in "[]*"},
    "\n": " ",
}
"""LaTeX's special characters; at the start of a row, `[` and `*` would belong to the row before."""


def escaped(text: str) -> str:
    """A text, escaped for LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in visible(text))
