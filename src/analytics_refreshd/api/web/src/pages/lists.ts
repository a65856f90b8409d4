// The lists of triggers, as the API has them.

import type { Question } from "../client";
import type { Page } from "../page";
import type { Column } from "../table";
import { asking } from "../times";

export const LISTS = ["all", "failing", "slow", "active", "idle", "retrying"] as const;
export type ListName = (typeof LISTS)[number];

interface List {
  path: string;
  cost?: number;
  /** Whether its window is the page's range. */
  ranged?: boolean;
  columns: Column[];
  sorted?: string;
}

const EXECUTIONS: Column = { field: "total_executions", kind: "count" };
const RATE: Column = { field: "success_rate", kind: "percent" };
const P95: Column = { field: "p95_duration_ms", kind: "ms" };
const AVERAGE: Column = { field: "avg_duration_ms", kind: "ms" };
const RETRIES: Column = { field: "total_retries", kind: "count" };
const LAST: Column = { field: "last_execution_at", kind: "time" };
const ENABLED: Column = { field: "enabled", kind: "boolean" };

const EVERY: Record<ListName, List> = {
  all: {
    path: "triggers/slowest", sorted: "-p95_duration_ms",
    columns: [EXECUTIONS, RATE, AVERAGE, P95, { field: "max_duration_ms", kind: "ms" }, RETRIES, LAST],
  },
  failing: {
    path: "triggers/health",
    columns: [{ field: "health_status", kind: "status" }, RATE, EXECUTIONS, { field: "failure_count", kind: "count" }, RETRIES, LAST, ENABLED],
  },
  slow: { path: "triggers/sla-violations", columns: [{ field: "sla_status", kind: "status" }, P95, EXECUTIONS, RATE, ENABLED] },
  active: {
    path: "triggers/most-active", cost: 5, ranged: true,
    columns: [EXECUTIONS, { field: "executions_per_hour", kind: "number" }, RATE, AVERAGE, RETRIES, LAST],
  },
  idle: { path: "triggers/idle", columns: [{ field: "days_idle", kind: "number" }, LAST, { field: "created_at", kind: "time" }, ENABLED] },
  retrying: {
    path: "triggers/high-retries",
    columns: [{ field: "retry_ratio", kind: "number" }, { field: "max_retries", kind: "count" }, EXECUTIONS, RATE, ENABLED],
  },
};

export function listName(page: Page): ListName {
  return LISTS.find((each) => each === page.state.list) ?? "all";
}

/** The list that the state names. */
export function chosen(page: Page): List {
  return EVERY[listName(page)];
}

/** Its question, without a page. */
export function listQuestion(page: Page): Question {
  const list = chosen(page);
  const asked = list.ranged ? asking(page.state, { parameter: "days", most: 90 }, page.now).parameters : {};
  return { path: list.path, parameters: asked, cost: list.cost ?? 1 };
}
