"""A graph with its nodes as one SVG file, readable in light and dark: takes a GraphStatus
(`liquefy.control`), gives text. Where things go is `ctl.layers`' answer; here is how they look."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from ctl.layers import Box, Layout, lay_out
from liquefy.graph import OUTPUT

MARGIN = 24.0
HEAD = 44.0
LINE = 17.0
CHAR = 7.4
"""Width of a character of the title at 13 px, near enough for any sans-serif."""

PADDING = 12.0
LOOP = 26.0
"""Height of a lane below the boxes, for streams that lead back."""

COLOURS = ("#2f6fde", "#c2571a", "#2c8a4b", "#8e44ad", "#b8860b", "#c0392b", "#16808a", "#6b7280")
EDGE_COLOUR = "#7b8794"

STYLE = """
text { font: 13px system-ui, 'Helvetica Neue', Arial, sans-serif; fill: #1f2933 }
.small { font-size: 11px; fill: #52606d }
.title { font-size: 17px; font-weight: 600 }
.name { font-weight: 600 }
.page { fill: #ffffff }
.box { fill: #f7f9fb; stroke: #cbd2d9 }
.edge { fill: none; stroke: #7b8794; stroke-width: 1.6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb } .small { fill: #9aa5b1 } .page { fill: #14181d }
  .box { fill: #1f252c; stroke: #3e4c59 }
}
"""


def draw(graph: dict[str, Any]) -> str:
    """GraphStatus -> the text of an SVG file. `version` may be None, and no group have nodes."""
    labels = _labels(graph)
    edges = [(a, b) for a, _, b in (s.partition(" >> ") for s in graph["streams"]) if a in labels and b in labels]
    sizes = {name: _size(lines) for name, lines in labels.items()}
    layout = lay_out(sizes, edges, [i["name"] for i in graph["inputs"]])
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(_groups(graph))}
    group_of = {f["name"]: _short(f["group"]) for f in graph["fluxions"]}
    lanes = len(layout.back)
    width = max(layout.width, CHAR * 1.4 * len(graph["name"]) + 160) + 2 * MARGIN
    height = HEAD + layout.height + lanes * LOOP + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f"aria-label={quoteattr('graph ' + graph['name'])}>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{EDGE_COLOUR}"/></marker></defs>',
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
        f'<text class="title" x="{MARGIN:.0f}" y="{MARGIN + 12:.0f}">{escape(graph["name"])} '
        f'<tspan class="small">{_version(graph)}</tspan></text>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN + HEAD:.0f})">',
        *_edges(layout, {e for e in edges if e[0] == e[1]}),
    ]
    for name, box in layout.boxes.items():
        parts += _box(box, labels[name], colours.get(group_of.get(name, ""), EDGE_COLOUR))
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _version(graph: dict[str, Any]) -> str:
    """"" for a graph that is not deployed."""
    return "" if graph["version"] is None else f"version {graph['version']}"


def _short(group: str) -> str:
    return group.rsplit("/", 1)[-1]


def _groups(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {_short(g["name"]): g for g in graph["groups"]}


def _labels(graph: dict[str, Any]) -> dict[str, list[str]]:
    """What stands in each box; the first line is its name."""
    groups = _groups(graph)
    labels = {i["name"]: [i["name"], f"{i['method']} {i['path']}"] for i in graph["inputs"]}
    for fluxion in graph["fluxions"]:
        group = groups.get(_short(fluxion["group"]))
        lines = [fluxion["name"]]
        if group is not None:
            kept = f", context by {fluxion['key']}" if fluxion.get("key") and group["stateful"] else ""
            lines.append(f"group {_short(fluxion['group'])}{kept}" if group["stateful"] else "no context")
            where = sorted(group["nodes"].items())
            lines += [
                " · ".join(f"{node or 'nowhere'} {count}" for node, count in where[i : i + 3])
                for i in range(0, len(where), 3)
            ]
        labels[fluxion["name"]] = lines
    if any(s.endswith(f" >> {OUTPUT}") for s in graph["streams"]):
        labels[OUTPUT] = [OUTPUT, "answers the request"]
    return labels


def _size(lines: list[str]) -> tuple[float, float]:
    wide = max(len(lines[0]) * CHAR * 1.06, *(len(line) * CHAR * 0.86 for line in lines))
    return max(90.0, wide + 2 * PADDING), len(lines) * LINE + PADDING * 1.4


def _box(box: Box, lines: list[str], colour: str) -> list[str]:
    x, y, wide, high = box
    parts = [
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="8"/>',
        f'<rect x="{x:.1f}" y="{y + 8:.1f}" width="4" height="{high - 16:.1f}" rx="2" fill="{colour}"/>',
    ]
    for i, line in enumerate(lines):
        base = y + PADDING * 0.7 + LINE * (i + 0.75)
        kind = "small" if i else "name"
        parts.append(f'<text class="{kind}" x="{x + PADDING:.1f}" y="{base:.1f}">{escape(line)}</text>')
    return parts


def _edges(layout: Layout, loops: set[tuple[str, str]]) -> list[str]:
    parts = [_curve(points) for points in layout.paths.values()]
    for name, _ in sorted(loops):
        box = layout.boxes[name]
        x, y = box.x + box.width / 2, box.y
        top = y - 30
        bend = f"C{x + 30:.1f} {top:.1f} {x - 30:.1f} {top:.1f} {x - 16:.1f} {y:.1f}"
        parts.append(_path(f"M{x + 16:.1f} {y:.1f}{bend}"))
    for lane, (a, b) in enumerate(layout.back):
        start, end = layout.boxes[a], layout.boxes[b]
        down = layout.height + LOOP * (lane + 0.8)
        x0, y0 = start.x + start.width / 2, start.y + start.height
        x1, y1 = end.x + end.width / 2, end.y + end.height
        parts.append(
            _path(
                f"M{x0:.1f} {y0:.1f}C{x0:.1f} {down:.1f} {x0:.1f} {down:.1f} {(x0 + x1) / 2:.1f} {down:.1f}"
                f"S{x1:.1f} {down:.1f} {x1:.1f} {y1:.1f}"
            )
        )
    return parts


def _curve(points: list[tuple[float, float]]) -> str:
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        bend = (to_x - x) / 2
        path += f"C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return _path(path)


def _path(path: str) -> str:
    return f'<path class="edge" d="{path}" marker-end="url(#tip)"/>'
