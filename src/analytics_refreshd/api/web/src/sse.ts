// Reads server-sent events from a response: an EventSource could not send the key as a header.

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

/** Take whole events off the front of `text`; return them and what is left. Comments and unknown fields are left out. */
export function takeEvents(text: string): { events: ServerEvent[]; rest: string } {
  const blocks = text.split("\n\n");
  const rest = blocks.pop() ?? "";
  const events = blocks.map((block) => {
    const event: ServerEvent = { id: "", name: "message", data: "" };
    for (const line of block.split("\n")) {
      const [, field, value = ""] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
      if (field === "id") event.id = value;
      else if (field === "event") event.name = value;
      else if (field === "data") event.data += (event.data ? "\n" : "") + value;
    }
    return event;
  });
  return { events: events.filter((event) => event.data), rest };
}
