"""How predicted video fares against the horizon: a panel a metric, a line a way to predict."""

from __future__ import annotations

from matplotlib.figure import Figure

from worldmodel.metrics.evaluation import AVERAGE, COPY, HIGHER, Evaluation

NAMES = {"psnr": "PSNR, dB", "ssim": "SSIM", "kl": "KL, nats a frame", "reward": "reward error / variance"}
DASHES = {COPY: ":", AVERAGE: "--"}
COLUMNS = 3


def evaluation_figure(found: Evaluation) -> Figure:
    """Of every metric of frames, the mean over windows at each predicted frame; baselines are grey."""
    rows = -(-len(found.frames) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.7 * rows), dpi=110, layout="constrained")
    cells = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    steps = range(1, found.horizon + 1)
    for axes, (metric, lines) in zip(cells, found.frames.items(), strict=False):
        for row, values in lines.items():
            style = {"color": "0.5", "linestyle": DASHES[row]} if row in DASHES else {}
            axes.plot(steps, values, linewidth=1.5, label=row, **style)
        better = "" if metric == "kl" else ", higher is better" if metric in HIGHER else ", lower is better"
        axes.set_title(NAMES.get(metric, metric.replace("_", " ")) + better, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    for axes in cells[len(found.frames) :]:
        axes.remove()
    cells[0].legend(frameon=False, fontsize=7)
    figure.supxlabel(f"predicted frame, after {found.context} given", fontsize=8)
    return figure
