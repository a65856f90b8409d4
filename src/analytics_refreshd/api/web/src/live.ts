// Live figures: the API's stream, read with fetch while the page is looked at, and opened again after a loss.

import { openStream, Trouble, type Row } from "./client";
import { takeEvents } from "./sse";

export interface Summary {
  data: Row;
  meta: { as_of: string | null; live: boolean; approximate: string[] };
}

export interface Refresh {
  data: { views: { view_name: string; last_refresh: string | null }[]; refreshing_since: string | null };
}

export interface Listener {
  summary: (summary: Summary) => void;
  refresh: (refresh: Refresh) => void;
  /** Whether events come. False while the stream is opened again; `trouble` says why, where the API did. */
  open: (open: boolean, trouble: Trouble | null) => void;
}

const AGAIN_SECONDS = 3;
const MOST_SECONDS = 60;
/** Three heartbeats of 15 s: then the connection is taken for lost. */
const SILENT_MS = 50_000;

/** Listen until aborted. */
export async function listen(organization: string, listener: Listener, signal: AbortSignal): Promise<void> {
  let last = "";
  let wait = AGAIN_SECONDS;
  while (!signal.aborted) {
    let trouble: Trouble | null = null;
    try {
      const response = await openStream(organization, last, signal);
      listener.open(true, null);
      wait = AGAIN_SECONDS;
      last = await read(response, listener, last);
    } catch (error) {
      if (signal.aborted) return;
      trouble = error instanceof Trouble ? error : null;
    }
    if (signal.aborted) return;
    listener.open(false, trouble);
    if (trouble && [400, 401, 403, 404].includes(trouble.status)) return;
    await pause(Math.max(wait, Math.min(trouble?.retryAfter ?? 0, 3600)), signal);
    wait = Math.min(MOST_SECONDS, wait * 2);
  }
}

/** Hand on events until the stream ends or is silent for too long; return the last id. */
async function read(response: Response, listener: Listener, last: string): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return last;
  const decoder = new TextDecoder();
  let text = "", id = last;
  for (;;) {
    const silent = setTimeout(() => void reader.cancel(), SILENT_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silent));
    if (done) return id;
    const taken = takeEvents(text + decoder.decode(value, { stream: true }));
    text = taken.rest;
    for (const event of taken.events) {
      if (event.id) id = event.id;
      if (event.name === "summary") listener.summary(JSON.parse(event.data) as Summary);
      if (event.name === "refresh") listener.refresh(JSON.parse(event.data) as Refresh);
    }
  }
}

function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}
