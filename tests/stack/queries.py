"""LogQL over what has been received, as far as the panels and alerts of deploy/ use it.

Loki itself is not among the parts of these tests. What it does with OTLP, and what a query means, is written down
here after its documentation; that a query is LogQL at all, Grafana's own parser decides.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from operator import ge, gt

from stack import part

MINUTE_S = 60
UNIT_S = {"s": 1, "m": MINUTE_S, "h": 60 * MINUTE_S, "d": 24 * 60 * MINUTE_S}
INDEXED = {
    "service.name",
    "service.namespace",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
}
SECONDS = "`{{ __timestamp__ | unixEpoch }}`"


@dataclass(frozen=True)
class Entry:
    """A log line of Loki: `indexed` are the labels of its stream, `labels` those and the structured metadata."""

    time_s: float
    line: str
    indexed: dict
    labels: dict


def entry(log):
    """Return what Loki makes of a record."""
    indexed = _labels({name: value for name, value in log.resource.items() if name in INDEXED})
    fields = {"severity_number": log.severity_number, "severity_text": log.severity_text}
    fields |= {"scope_name": log.scope_name, "scope_version": log.scope_version}
    labels = _labels(log.resource) | _labels(fields) | _labels(log.attributes) | indexed
    return Entry((log.timestamp_ns or log.observed_timestamp_ns) / 1e9, str(log.body), indexed, labels)


def _labels(attributes):
    flat = {}
    for name, value in attributes.items():
        label = re.sub(r"[^A-Za-z0-9]+", "_", name)
        if isinstance(value, dict):
            flat |= {f"{label}_{inner}": text for inner, text in _labels(value).items()}
        elif text := value if isinstance(value, str) else json.dumps(value):
            flat[label] = text
    return flat


def parse(queries):
    """Return the syntax trees of queries; raises ValueError for what is not LogQL."""
    folder = part("logql", "parse.js").parent
    answer = subprocess.run(
        ["node", "parse.js"], cwd=folder, input=json.dumps(queries).encode(), capture_output=True, check=True
    )
    trees = json.loads(answer.stdout)
    for query, tree in zip(queries, trees, strict=True):
        if "⚠" in str(tree):
            raise ValueError(f"no LogQL: {query}")
    return trees


def ask(query, entries, at_s):
    """Return what an instant query answers: labels and value of each series, or the entries of a log query."""
    for macro in ("$__range", "$__auto"):
        query = query.replace(macro, "24h")
    (tree,) = parse([query])
    return Asked(entries, at_s).value(tree)


class Asked:
    """Values of syntax trees, at one moment."""

    def __init__(self, entries, at_s):
        self._entries, self._at_s = entries, at_s

    def value(self, tree):
        return getattr(self, f"_{tree[0]}")(*tree[1:])

    def _passed_on(self, only):
        return self.value(only)

    _LogQL = _Expr = _MetricExpr = _passed_on

    def _LogExpr(self, *parts):
        return self._selected(parts)

    def _LiteralExpr(self, number):
        return float(number[1])

    def _VectorAggregationExpr(self, function, *parts):
        parts, number = _without(parts, "Number")
        by, series = _grouping(parts), self.value(_one(parts, "MetricExpr"))
        if function[1][0] == "Topk":
            return sorted(series, key=lambda item: -item[1])[: int(number[0][1])]
        apply = {"Sum": sum, "Max": max, "Count": len}[function[1][0]]
        return [(labels, float(apply(values))) for labels, values in _grouped(series, by)]

    def _RangeAggregationExpr(self, function, *parts):
        parts, number = _without(parts, "Number")
        inside = _one(parts, "LogRangeExpr")
        entries, unwrapped = self._range(inside)
        name, by = function[1][0], _grouping(parts)
        if name == "AbsentOverTime":
            return [] if entries else [({}, 1.0)]
        if name == "CountOverTime":
            return [(labels, float(len(group))) for labels, group in _grouped([(e.labels, 1) for e in entries], by)]
        series = [(e.labels, float(e.labels[unwrapped])) for e in entries if unwrapped in e.labels]
        apply = {"MaxOverTime": max, "QuantileOverTime": lambda group: _quantile(float(number[0][1]), group)}[name]
        return [(labels, apply(group)) for labels, group in _grouped(series, by)]

    def _BinOpExpr(self, left, operator, modifier, right):
        assert modifier[1] == "", "no modifiers"
        left, right = self.value(left), self.value(right)
        if operator[0] == "Or":
            return left + [item for item in right if item[0] not in [labels for labels, _ in left]]
        if operator[0] == "Unless":
            return [item for item in left if item[0] not in [labels for labels, _ in right]]
        pairs = [(labels, value, other) for labels, value in left for other in _matching(labels, right)]
        if operator[0] == "Sub":
            return [(labels, value - other) for labels, value, other in pairs]
        passes = {"Gtr": gt, "Gte": ge}[operator[0]]
        return [(labels, value) for labels, value, other in pairs if passes(value, other)]

    def _range(self, tree):
        (duration,) = _one(tree[1:], "Range")[1:]
        span_s = int(duration[1][:-1]) * UNIT_S[duration[1][-1]]
        unwraps = [piece[-1][1] for piece in tree[1:] if piece[0] == "UnwrapExpr"]
        found = [e for e in self._selected(tree[1:]) if self._at_s - span_s < e.time_s <= self._at_s]
        return found, unwraps[0] if unwraps else None

    def _selected(self, parts):
        matchers = list(_all(_one(parts, "Selector"), "Matcher"))
        found = [e for e in self._entries if all(_matches(e.indexed, matcher) for matcher in matchers)]
        for stage in (
            stage for piece in parts if piece[0] == "PipelineExpr" for stage in _all(piece, "PipelineStage")
        ):
            found = [changed for e in found if (changed := _through(stage, e)) is not None]
        return found


def _through(stage, e):
    kind, *parts = stage[2]
    if kind == "LabelFormatExpr":
        (matcher,) = _all(stage, "LabelFormatMatcher")
        assert matcher[3][1] == SECONDS, "no other template"
        return Entry(e.time_s, e.line, e.indexed, e.labels | {matcher[1][1]: str(int(e.time_s))})
    assert kind == "LabelFilter"
    if parts[0][0] == "Matcher":
        return e if _matches(e.labels, parts[0]) else None
    assert parts[0][0] == "NumberFilter"
    _, name, operator, number = parts[0]
    assert operator[0] == "Gte"
    return e if float(e.labels.get(name[1], "-inf")) >= float(number[1][1]) else None


def _matches(labels, matcher):
    _, name, operator, text = matcher
    value, wanted = labels.get(name[1], ""), json.loads(text[1])
    return {
        "Eq": value == wanted,
        "Neq": value != wanted,
        "Re": operator[0] == "Re" and re.fullmatch(wanted, value) is not None,
    }[operator[0]]


def _matching(labels, right):
    if isinstance(right, float):
        return [right]
    return [value for others, value in right if others == labels]


def _grouped(series, by):
    groups = {}
    for labels, value in series:
        kept = labels if by is None else {name: labels[name] for name in by if name in labels}
        groups.setdefault(tuple(sorted(kept.items())), []).append(value)
    return [(dict(key), values) for key, values in groups.items()]


def _grouping(parts):
    """Return the labels of `by (…)`. Without it, an aggregation keeps none, and over a range all: None."""
    found = [piece for piece in parts if piece[0] == "Grouping"]
    if found:
        return [name[1] for name in _all(found[0], "Identifier")]
    return None if any(piece[0] == "LogRangeExpr" for piece in parts) else []


def _quantile(share, values):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def _one(parts, name):
    return next(piece for piece in parts if piece[0] == name)


def _without(parts, name):
    return [piece for piece in parts if piece[0] != name], [piece for piece in parts if piece[0] == name]


def _all(tree, name):
    """Find every tree of a name, in the order of the text."""
    if tree[0] == name:
        yield tree
    elif isinstance(tree[1], list):
        for child in tree[1:]:
            yield from _all(child, name)
