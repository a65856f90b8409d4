// What do the organizations use?

import type { Answer } from "../client";
import type { Page } from "../page";
import { addPanel, numbers } from "../panel";
import type { Column } from "../table";
import { texts } from "../texts";
import { asking } from "../times";

export const nameIn = (row: Answer["rows"][number]): string => String(row["organization_name"] || row["organization_id"] || texts.organizations.none);
const NAME: Column = { field: "organization_name", kind: "text", cell: nameIn };

export function organizations(page: Page): void {
  const chart = (answer: Answer) => ({
    shape: "across" as const, kind: "count" as const, labels: answer.rows.map(nameIn),
    series: [{ name: texts.overview.executions, values: numbers(answer, "total_executions"), tone: "main" as const }],
  });
  const asked = asking(page.state, { parameter: "days", most: 90, zoned: true }, page.now);
  addPanel(page, {
    title: texts.organizations.usage, wide: true, chart,
    question: { path: "organizations/usage", parameters: { ...asked.parameters, limit: 100 }, cost: 10 },
    columns: [
      NAME, { field: "total_executions", kind: "count" }, { field: "successes", kind: "count" }, { field: "success_rate", kind: "percent" },
      { field: "avg_duration_ms", kind: "ms" }, { field: "total_retries", kind: "count" }, { field: "active_triggers", kind: "count" },
      { field: "organization_id", kind: "text" },
    ],
  });
  addPanel(page, {
    title: texts.organizations.top, wide: true, chart,
    question: { path: "organizations/top", parameters: { limit: 20 } },
    columns: [
      NAME, { field: "plan", kind: "text" }, { field: "trigger_count", kind: "count" }, { field: "total_executions", kind: "count" },
      { field: "success_rate", kind: "percent" }, { field: "organization_id", kind: "text" },
    ],
  });
}
