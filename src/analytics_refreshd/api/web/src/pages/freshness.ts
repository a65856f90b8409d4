// How fresh are the views that all figures come from?

import type { Answer } from "../client";
import { h } from "../dom";
import { operators } from "../operators";
import type { Page } from "../page";
import { addPanel } from "../panel";
import type { Column } from "../table";
import { texts } from "../texts";

export function freshness(page: Page): void {
  const columns: Column[] = [
    { field: "view_name", kind: "text" },
    { field: "age_minutes", kind: "minutes" },
    { field: "last_refresh", kind: "time" },
    { field: "row_count", kind: "count" },
    { field: "size_bytes", kind: "bytes" },
  ];
  const head = (answer: Answer): HTMLElement => {
    const fresh = answer.summary?.["all_views_fresh"] === true;
    const [tone, sign, words] = fresh ? ["good", "✓", texts.freshness.fresh] : ["bad", "▲", texts.freshness.stale];
    return h("p", { class: `headline ${tone}` }, h("span", { "aria-hidden": "true" }, `${sign} `), words);
  };
  addPanel(page, {
    title: texts.freshness.title, wide: true, question: { path: "meta/refresh-status" }, columns, head, notes: [texts.freshness.note],
  });
  page.add(operators(page));
}
