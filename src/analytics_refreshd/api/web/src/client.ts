// Talks to the API. The key goes as a header; an error is a Trouble with the API's own sentence.

import { readKey } from "./session";

export type Value = string | number | boolean | null | string[];
export type Row = Record<string, Value>;

export interface Meta {
  as_of: string | null;
  generated_at: string;
  stale: boolean;
  window: { since: string; until: string } | null;
  approximate: string[];
  /** Figures before it are frozen; null: none are. */
  frozen_until: string | null;
  /** Sentences on what the figures mean. */
  notes: string[];
}

export interface Answer {
  rows: Row[];
  summary: Row | null;
  /** All rows, of which `rows` is a page. */
  total: number;
  meta: Meta;
}

/** A question: the path below the API's base, and its parameters. `cost` is what it counts for in the limits. */
export interface Question {
  path: string;
  parameters?: Record<string, string | number>;
  cost?: number;
}

/** Why there is no answer. `status` is 0 where the server could not be reached; `retryAfter` is in seconds. */
export class Trouble extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export interface Budget {
  limit: number;
  remaining: number;
}

const BASE = "api/v1/analytics/";
const STREAM = "api/v1/stream?topics=summary,refresh";
let budget: Budget | null = null;

/** What is left of this hour's requests, as the last answer said; null before, and without limits. */
export function leftOver(): Budget | null {
  return budget;
}

function address(question: Question, more: Record<string, string>): URL {
  const url = new URL(BASE + question.path, document.baseURI);
  const given = { ...question.parameters, ...more };
  for (const [name, value] of Object.entries(given)) url.searchParams.set(name, String(value));
  return url;
}

async function problem(response: Response): Promise<Trouble> {
  const after = Number(response.headers.get("Retry-After"));
  let code = "", message = "";
  try {
    const body = (await response.json()) as { error?: string; message?: string };
    code = body.error ?? "";
    message = body.message ?? "";
  } catch {
    // a proxy's own page; its status says enough
  }
  return new Trouble(response.status, code, message, Number.isFinite(after) && after > 0 ? after : null);
}

async function send(url: URL, organization: string, signal: AbortSignal, more: RequestInit = {}): Promise<Response> {
  const { headers = {}, ...others } = more;
  const sent = new Headers(headers);
  const key = readKey();
  if (key) sent.set("X-API-Key", key);
  // a parameter, since an id may have letters that a header cannot hold
  if (organization) url.searchParams.set("organization_id", organization);
  let response: Response;
  try {
    response = await fetch(url, { ...others, headers: sent, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Trouble(0, "unreachable", "");
  }
  const limit = Number(response.headers.get("X-RateLimit-Limit"));
  if (limit > 0) budget = { limit, remaining: Number(response.headers.get("X-RateLimit-Remaining")) };
  if (!response.ok) throw await problem(response);
  return response;
}

/** Ask a question; `again` asks whether what the browser kept is still true. Throws Trouble, or the abort. */
export async function ask(question: Question, organization: string, signal: AbortSignal, again = false): Promise<Answer> {
  const response = await send(address(question, {}), organization, signal, again ? { cache: "no-cache" } : {});
  const body = (await response.json()) as { data: Row | Row[]; summary?: Row; pagination?: { total: number }; meta: Meta };
  const rows = Array.isArray(body.data) ? body.data : [body.data];
  return { rows, summary: body.summary ?? null, total: body.pagination?.total ?? rows.length, meta: body.meta };
}

/** Ask for all rows as CSV: text as the API wrote it. Throws Trouble, or the abort. */
export async function askCsv(question: Question, organization: string, signal: AbortSignal): Promise<string> {
  const { limit: _limit, offset: _offset, ...others } = question.parameters ?? {};
  const all = { path: question.path, parameters: others };
  return (await send(address(all, { format: "csv" }), organization, signal)).text();
}

/** Open the stream of live figures, after the event of this id where there was one. Throws Trouble, or the abort. */
export async function openStream(organization: string, last: string, signal: AbortSignal): Promise<Response> {
  return send(new URL(STREAM, document.baseURI), organization, signal, { headers: last ? { "Last-Event-ID": last } : {} });
}

export type ActionKind = "refresh" | "pause" | "resume";

/** What became of a request of an operator. */
export interface ActionState {
  request_id: string;
  state: string;
  leader: boolean;
  outcome: string | null;
  detail: string | null;
  paused_until: string | null;
  pauses_ended: number | null;
}

/** Ask the daemon for something. Throws Trouble, or the abort. */
export async function askAction(kind: ActionKind, body: Record<string, string>, signal: AbortSignal): Promise<ActionState> {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await send(new URL(`api/v1/${kind}`, document.baseURI), "", signal, request);
  return ((await response.json()) as { data: ActionState }).data;
}

/** Ask what became of it. Throws Trouble, or the abort. */
export async function actionState(id: string, signal: AbortSignal): Promise<ActionState> {
  const response = await send(new URL(`api/v1/requests/${encodeURIComponent(id)}`, document.baseURI), "", signal);
  return ((await response.json()) as { data: ActionState }).data;
}

/** A question that somebody kept: a name, and what stands after the path of a page. */
export interface Kept {
  question_id: string;
  organization_id: string | null;
  name: string;
  address: string;
  kept_at: string;
}

export interface Wanted {
  name: string;
  address: string;
}

const QUESTIONS = "api/v1/questions";

function questionUrl(id?: string): URL {
  return new URL(id === undefined ? QUESTIONS : `${QUESTIONS}/${encodeURIComponent(id)}`, document.baseURI);
}

async function write(method: string, url: URL, wanted: Wanted | null, organization: string, signal: AbortSignal): Promise<Response> {
  const body = wanted ? { headers: { "Content-Type": "application/json" }, body: JSON.stringify(wanted) } : {};
  return send(url, organization, signal, { method, ...body });
}

/** List a page of the kept questions. Throws Trouble, or the abort. */
export async function listQuestions(rows: { limit: number; offset: number }, organization: string, signal: AbortSignal): Promise<{ kept: Kept[]; total: number }> {
  const url = questionUrl();
  for (const [name, value] of Object.entries(rows)) url.searchParams.set(name, String(value));
  const body = (await (await send(url, organization, signal)).json()) as { data: Kept[]; pagination: { total: number } };
  return { kept: body.data, total: body.pagination.total };
}

/** Keep a question. Throws Trouble, or the abort. */
export async function keepQuestion(wanted: Wanted, organization: string, signal: AbortSignal): Promise<Kept> {
  return ((await (await write("POST", questionUrl(), wanted, organization, signal)).json()) as { data: Kept }).data;
}

/** Give a question another name and address. Throws Trouble, or the abort. */
export async function replaceQuestion(id: string, wanted: Wanted, organization: string, signal: AbortSignal): Promise<void> {
  await write("PUT", questionUrl(id), wanted, organization, signal);
}

/** Remove a question. Throws Trouble, or the abort. */
export async function removeQuestion(id: string, organization: string, signal: AbortSignal): Promise<void> {
  await write("DELETE", questionUrl(id), null, organization, signal);
}
