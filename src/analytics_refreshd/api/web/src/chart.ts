// Draws charts. What a chart shows is also in its label and in the table beside it.

import { BarChart, HeatmapChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent, VisualMapComponent } from "echarts/components";
import { init, use, type ECharts, type EChartsCoreOption } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { gridOption, spokenGrid } from "./grid";
import { h } from "./dom";
import { onAxis, shown, type Kind } from "./format";
import { texts } from "./texts";

use([AriaComponent, BarChart, CanvasRenderer, GridComponent, HeatmapChart, LegendComponent, LineChart, TooltipComponent, VisualMapComponent]);

export type Figure = number | null;
export type Tone = "main" | "good" | "bad" | "warn" | "second";

export interface Series {
  name: string;
  values: Figure[];
  tone: Tone;
  /** Drawn as points alone, or dashed whatever the tone. */
  look?: "points" | "dashed";
}

/** What lies between two lines, such as what is expected. */
export interface Band {
  name: string;
  lower: Figure[];
  upper: Figure[];
}

export interface Chart {
  /** `line` and `stack` run over time, `across` compares names from top to bottom; `columns` compares side by side; `grid` has `cells`. */
  shape: "line" | "stack" | "across" | "columns" | "grid";
  labels: string[];
  series: Series[];
  kind: Kind;
  /** Of a `line`: drawn below its series. */
  band?: Band;
  /** The largest figure that is possible, such as 100 percent. */
  most?: number;
  /** Of a grid: the names of its rows, and each cell as column, row and figure. */
  rows?: string[];
  cells?: [number, number, Figure][];
  /** What the colours of a grid reach from and to; else from 0 to its largest figure. */
  between?: [number, number];
  /** Whether each cell has room for its figure. */
  written?: boolean;
}

const MOST_BARS = 15;
const BAR_HEIGHT = 34;
const NARROW = 420;

export interface Colours {
  text: string;
  soft: string;
  line: string;
  card: string;
  tones: Record<Tone, string>;
}

export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("text"), soft: of("soft"), line: of("line"), card: of("card"),
    tones: { main: of("main"), good: of("good"), bad: of("bad"), warn: of("warn"), second: of("second") },
  };
}

const DECALS: Record<Tone, object> = {
  main: { symbol: "none" },
  good: { symbol: "none" },
  bad: { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 3], rotation: -Math.PI / 4, color: "rgba(255,255,255,.55)" },
  warn: { symbol: "circle", dashArrayX: [[6, 6], [0, 6, 6, 0]], dashArrayY: [6, 0], symbolSize: 0.5, color: "rgba(255,255,255,.6)" },
  second: { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 4], color: "rgba(255,255,255,.5)" },
};
const DASHES: Record<Tone, string> = { main: "solid", good: "solid", bad: "dashed", warn: "dotted", second: "dashed" };

function tooltip(chart: Chart, paint: Colours): object {
  const lines = (points: { dataIndex: number }[]): string => {
    const at = points[0]?.dataIndex ?? 0;
    const figures = chart.series.map(({ name, values }) => {
      const value = values[at];
      return `${name}: ${value === null || value === undefined ? texts.noFigure : shown(value, chart.kind, "UTC")}`;
    });
    return [chart.labels[at] ?? "", ...figures, ...bandAt(chart, at)].join("\n");
  };
  return {
    // drawn on the canvas: no text of ours or of the database becomes markup
    renderMode: "richText", trigger: "axis", confine: true, formatter: lines, axisPointer: { type: chart.shape === "line" ? "line" : "shadow" },
    backgroundColor: paint.card, borderColor: paint.line, textStyle: { color: paint.text, fontSize: 13 },
  };
}

function bandAt({ band, kind }: Chart, at: number): string[] {
  const lower = band?.lower[at] ?? null, upper = band?.upper[at] ?? null;
  if (!band || lower === null || upper === null) return [];
  return [`${band.name}: ${texts.expected.within(shown(lower, kind, "UTC"), shown(upper, kind, "UTC"))}`];
}

function option(chart: Chart, width: number): EChartsCoreOption {
  const paint = colours();
  if (chart.shape === "grid") return gridOption(chart, paint, width);
  const across = chart.shape === "across";
  const label = { color: paint.soft, fontSize: 12 };
  const names = {
    type: "category", data: chart.labels, inverse: across, axisLine: { lineStyle: { color: paint.line } }, axisTick: { show: false },
    axisLabel: { ...label, hideOverlap: true, ...(across ? { width: Math.min(220, width * 0.36), overflow: "truncate", interval: 0 } : chart.shape === "columns" ? { width: (width - 80) / chart.labels.length, overflow: "truncate", interval: 0 } : { formatter: inTwoLines, lineHeight: 15 }) },
  };
  const figures = {
    type: "value", ...(chart.kind === "count" ? { minInterval: 1 } : {}), min: 0, ...scale(chart), splitNumber: 4,
    axisLabel: { ...label, hideOverlap: true, formatter: (value: number) => onAxis(value, chart.kind) }, splitLine: { lineStyle: { color: paint.line } },
  };
  const named = chart.series.length + (chart.band ? 1 : 0);
  const many = named > 1;
  const legend = [...chart.series.map((each) => ({ name: each.name, icon: sign(chart, each) })), ...(chart.band ? [{ name: chart.band.name, icon: "rect" }] : [])];
  return {
    animation: false,
    aria: { enabled: true, label: { enabled: false }, decal: { show: true } },
    color: chart.series.map((each) => paint.tones[each.tone]),
    textStyle: { fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif" },
    grid: { left: 4, right: 18, top: !many ? 12 : width < NARROW && named > 2 ? 64 : 36, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    legend: { show: many, top: 0, left: 0, data: legend, textStyle: { color: paint.text, fontSize: 13 }, selectedMode: false },
    tooltip: tooltip(chart, paint),
    xAxis: across ? figures : names,
    yAxis: across ? names : figures,
    series: [...chart.series.map((each) => one(chart, each)), ...(chart.band ? bandLines(chart.band, paint) : [])],
  };
}

/** A date and its time one above the other: so more of them fit. */
function inTwoLines(label: string): string {
  return label.replace(", ", "\n");
}

/** An axis of shares begins at the quarter below all of them, so that small changes are seen. */
function scale(chart: Chart): object {
  if (chart.most === undefined) return {};
  const lines = [...chart.series.map((each) => each.values), chart.band?.lower ?? []];
  const known = lines.flatMap((values) => values.filter((value) => value !== null));
  const min = known.length === 0 ? 0 : Math.min(75, Math.floor(Math.min(...known) / 25) * 25);
  return { min, max: chart.most, interval: (chart.most - min) / 5 };
}

function sign(chart: Chart, series: Series): string {
  if (chart.shape !== "line") return "roundRect";
  if (series.look === "points") return "triangle";
  return dash(series) === "solid" ? "path://M0,4 H24 V6 H0 Z" : "path://M0,4 H10 V6 H0 Z M14,4 H24 V6 H14 Z";
}

function dash(series: Series): string {
  return series.look === "dashed" ? "dashed" : DASHES[series.tone];
}

/** The lower edge, and what is above it up to the upper one: with lines, so that it is seen without its colour. */
function bandLines({ name, lower, upper }: Band, paint: Colours): object[] {
  const edge = { type: "line", stack: "band", stackStrategy: "all", symbol: "none", silent: true, connectNulls: false, z: 1, lineStyle: { width: 1, type: "dotted", color: paint.soft } };
  const above = upper.map((value, at) => (value === null ? null : value - (lower[at] ?? 0)));
  return [
    { ...edge, name: "", data: lower },
    { ...edge, name, data: above, itemStyle: { color: paint.soft }, areaStyle: { color: paint.soft, opacity: 0.22 } },
  ];
}

function one(chart: Chart, series: Series): object {
  const shared = { name: series.name, data: series.values };
  if (chart.shape === "line") {
    if (series.look === "points") return { ...shared, type: "line", symbol: "triangle", symbolSize: 13, lineStyle: { width: 0 }, z: 4 };
    const known = series.values.filter((value) => value !== null).length;
    return {
      ...shared, type: "line", lineStyle: { width: 2.5, type: dash(series) },
      // a step between two without figures is a point alone
      showSymbol: true, showAllSymbol: true, symbolSize: known < 40 ? 5 : 3, connectNulls: false,
    };
  }
  const stacked = chart.shape === "columns" ? {} : { stack: "all" };
  return { ...shared, ...stacked, type: "bar", barMaxWidth: 26, barCategoryGap: "22%", itemStyle: { decal: DECALS[chart.series.length > 1 ? series.tone : "main"] } };
}

/** What a chart shows, for who does not see it. */
export function spoken(title: string, chart: Chart): string {
  const say = (value: Figure | undefined): string => (value === null || value === undefined ? texts.noFigure : shown(value, chart.kind, "UTC"));
  if (chart.shape === "grid") return spokenGrid(title, chart);
  if (chart.shape === "across" || chart.shape === "columns") {
    const first = chart.series[0]?.values ?? [];
    const bars = chart.labels.slice(0, 5).map((name, at) => texts.bar(name, say(first[at])));
    return texts.chart(title, bars.join(" "));
  }
  const parts = chart.series.map(({ name, values }) => {
    const known = values.filter((value): value is number => value !== null);
    if (known.length === 0) return `${name}: ${texts.noFigure}.`;
    return texts.series(name, say(Math.min(...known)), say(Math.max(...known)), say(values.at(-1)));
  });
  const { band } = chart;
  if (band) {
    const known = band.lower.flatMap((value, at) => (value === null || (band.upper[at] ?? null) === null ? [] : [at]));
    const last = known.at(-1);
    parts.push(last === undefined ? `${band.name}: ${texts.noFigure}.` : texts.bar(`${band.name}, ${chart.labels[last] ?? ""}:`, texts.expected.within(say(band.lower[last]), say(band.upper[last]))));
  }
  return texts.chart(title, parts.join(" "));
}

/** Make the picture. It is drawn once it is in the document, and again with another width or colour scheme. */
export function picture(title: string, given: Chart, signal: AbortSignal): HTMLElement {
  const chart = given.shape === "across" ? shortened(given) : given;
  const height = chart.shape === "across" ? Math.max(90, chart.labels.length * BAR_HEIGHT + 60) : chart.shape === "grid" ? 320 : 260;
  const place = h("div", { class: "chart", role: "img", "aria-label": spoken(title, given) });
  place.style.height = `${height}px`;
  let drawn: ECharts | null = null;
  const draw = (): void => {
    if (place.clientWidth === 0) return;
    drawn ??= init(place, null, { renderer: "canvas" });
    drawn.resize();
    drawn.setOption(option(chart, place.clientWidth), true);
  };
  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => {
    watcher.disconnect();
    drawn?.dispose();
  });
  return place;
}

function shortened(chart: Chart): Chart {
  const series = chart.series.map((each) => ({ ...each, values: each.values.slice(0, MOST_BARS) }));
  return { ...chart, labels: chart.labels.slice(0, MOST_BARS), series };
}
