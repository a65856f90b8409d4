// Grids of coloured cells: hours of the week, and correlations.

import type { EChartsCoreOption } from "echarts/core";
import type { Chart, Colours } from "./chart";
import { onAxis, shown } from "./format";
import { texts } from "./texts";

type Cell = [number, number, number | null];

function say(chart: Chart, figure: number | null): string {
  return figure === null ? texts.noFigure : shown(figure, chart.kind, "UTC");
}

function most(chart: Chart): number {
  return Math.max(0, ...(chart.cells ?? []).map(([, , figure]) => figure ?? 0));
}

/** The options of a grid. A cell without a figure has no colour; the darkest and the lightest are named below. */
export function gridOption(chart: Chart, paint: Colours, width: number): EChartsCoreOption {
  const [from, to] = chart.between ?? [0, most(chart) || 1];
  const label = { color: paint.soft, fontSize: 12 };
  const names = { type: "category", axisLine: { show: false }, axisTick: { show: false }, splitArea: { show: false } };
  const narrow = width < 500;
  const written = chart.written ? { interval: 0, overflow: "break", lineHeight: 14, fontSize: narrow ? 11 : 12 } : {};
  const colours = chart.between ? [paint.tones.second, paint.card, paint.tones.main] : [paint.card, paint.tones.main];
  return {
    animation: false,
    textStyle: { fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif" },
    grid: { left: 4, right: 18, top: 8, bottom: 56, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    tooltip: {
      renderMode: "richText", confine: true, backgroundColor: paint.card, borderColor: paint.line, textStyle: { color: paint.text, fontSize: 13 },
      formatter: ({ data: [column, row, figure] }: { data: Cell }) => `${chart.rows?.[row] ?? ""}, ${chart.labels[column] ?? ""}: ${say(chart, figure)}`,
    },
    visualMap: {
      type: "continuous", min: from, max: to, calculable: false, orient: "horizontal", left: 4, bottom: 0, itemWidth: 12, itemHeight: 160,
      text: [onAxis(to, chart.kind), onAxis(from, chart.kind)], textStyle: { color: paint.soft, fontSize: 12 }, inRange: { color: colours },
    },
    xAxis: { ...names, data: chart.labels, axisLabel: { ...label, hideOverlap: !chart.written, ...written, ...(chart.written ? { width: width * 0.195 } : {}) } },
    yAxis: { ...names, data: chart.rows, inverse: true, axisLabel: { ...label, interval: 0, ...written, ...(chart.written ? { width: Math.min(120, width * 0.22) } : {}) } },
    series: [{
      type: "heatmap", data: (chart.cells ?? []).filter(([, , figure]) => figure !== null),
      label: { show: chart.written === true, color: paint.text, textBorderColor: paint.card, textBorderWidth: 3, fontSize: narrow ? 11 : 13, formatter: ({ data }: { data: Cell }) => say(chart, data[2]) },
      itemStyle: { borderColor: paint.line, borderWidth: 1 },
    }],
  };
}

/** Where a grid has most and least. */
export function spokenGrid(title: string, chart: Chart): string {
  const known = (chart.cells ?? []).filter(([, , figure]) => figure !== null).sort((one, other) => (other[2] ?? 0) - (one[2] ?? 0));
  const at = (cell: Cell | undefined): string => (cell ? texts.bar(`${chart.rows?.[cell[1]] ?? ""}, ${chart.labels[cell[0]] ?? ""}:`, say(chart, cell[2])) : texts.noFigure);
  return texts.chart(title, texts.patterns.extremes(at(known[0]), at(known.at(-1))));
}
