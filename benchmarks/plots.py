"""The two pictures of a benchmark: how many times the project's time each peer takes, for each line and number of cores."""

from __future__ import annotations

from pathlib import Path

PEERS = {"jax": "JAX", "torch": "PyTorch", "scikit-learn": "scikit-learn"}
COLOURS = {"jax": "#1f5fa8", "torch": "#c0392b", "scikit-learn": "#9aa0a6"}
MARKS = {"jax": "o", "torch": "s", "scikit-learn": "D"}


def panels(rows: list[dict], height: float, left: float):
    """A figure with a panel for each number of cores, a logarithmic axis of ratios, and a line at 1."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "chainrule"  # equal figures, equal files
    counts = sorted({row["threads"] for row in rows})
    figure, axes = plt.subplots(
        1, len(counts), figsize=(left + 3.6 * len(counts), height), sharex=True, sharey=True, squeeze=False
    )
    ratios = [ratio for row in rows for ratio in row["ratio"].values()] or [1.0]
    ticks = [tick for tick in (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < 1.5 * max(ratios)]
    ticks = [tick for tick in ticks if tick >= 0.5 or tick > min(ratios) / 2]
    for axis, threads in zip(axes[0], counts, strict=True):
        axis.axvline(1, color="black", linewidth=0.9, zorder=1)
        axis.set(xscale="log", xlim=(min(0.7, 0.8 * min(ratios)), 1.9 * max(ratios)), xlabel="time, chainrule = 1")
        axis.set_title(f"{threads} core{'s' if threads > 1 else ''}", fontsize=10)
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    return figure, dict(zip(counts, axes[0], strict=True))


def finish(figure, axes, names: list[str], fontsize: float, path: Path) -> None:
    """Names at the left, the first line on top, the legend above, and the file."""
    first = next(iter(axes.values()))
    first.set_yticks(range(len(names)), names, fontsize=fontsize)
    first.set_ylim(len(names) - 0.4, -0.6)
    height = figure.get_size_inches()[1]
    handles = {label: handle for axis in axes.values()
               for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.legend(handles.values(), handles, frameon=False, fontsize=9, loc="upper center", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.25 / height))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def speed(rows: list[dict], path: Path) -> None:
    """Bars for the lines of the table."""
    names = list(dict.fromkeys(row["line"] for row in rows))
    figure, axes = panels(rows, height=1.1 + 0.45 * len(names), left=2.2)
    for i, (peer, label) in enumerate(PEERS.items()):
        for threads, axis in axes.items():
            found = {
                names.index(r["line"]): r["ratio"][peer] for r in rows if r["threads"] == threads and peer in r["ratio"]
            }
            places = [line + (i - 1) * 0.26 for line in found]
            bars = axis.barh(places, list(found.values()), height=0.24, label=label, color=COLOURS[peer], zorder=2)
            axis.bar_label(bars, [f"{r:.1f}" if r < 10 else f"{r:.0f}" for r in found.values()], padding=2, fontsize=7)
    finish(figure, axes, names, 8, path)


def sweep(rows: list[dict], path: Path) -> None:
    """Marks for the shapes of the sweep, the thinnest margin over the best peer on top."""
    least: dict[str, float] = {}
    for row in rows:
        least[row["line"]] = min(least.get(row["line"], float("inf")), *row["ratio"].values(), float("inf"))
    names = sorted(least, key=lambda name: least[name])
    figure, axes = panels(rows, height=1.1 + 0.21 * len(names), left=3.2)
    for threads, axis in axes.items():
        axis.hlines(range(len(names)), *axis.get_xlim(), color="#e4e6e8", linewidth=0.6, zorder=0)
        for peer, label in PEERS.items():
            found = [
                (r["ratio"][peer], names.index(r["line"]))
                for r in rows
                if r["threads"] == threads and peer in r["ratio"]
            ]
            axis.plot(*zip(*found, strict=True) if found else ([], []), MARKS[peer], color=COLOURS[peer], label=label,
                      markersize=4, zorder=3, linestyle="none")  # fmt: skip
    finish(figure, axes, names, 7.5, path)
