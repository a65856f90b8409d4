(() => {
"use strict";
const EVERY = 10000, STOPS = "a, button, summary";
let made = performance.now(), heard = made, cell = null;
const all = (selector) => document.querySelectorAll(selector);
const number = (element, name) => parseFloat(element.dataset[name]);
function words(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  const [large, name, small, rest] = s < 3600 ? [60, "min", 1, "s"] : s < 86400 ? [3600, "h", 60, "min"] : [86400, "d", 3600, "h"];
  const left = Math.floor(s % large / small);
  return Math.floor(s / large) + " " + name + (left ? " " + left + " " + rest : "");
}
function tick() {
  const gone = (performance.now() - made) / 1000;
  for (const e of all("[data-age]")) {
    const age = number(e, "age") + gone;
    e.textContent = words(age);
    const badge = e.dataset.limit && age > number(e, "limit") && e.closest("li").querySelector(".badge");
    if (badge && badge.textContent !== "stale") { badge.textContent = "stale"; badge.className = "badge bad"; }
  }
  for (const e of all("[data-until]")) {
    const left = number(e, "until") - gone;
    e.textContent = left >= 1 ? "in " + words(left) : left > -30 ? "due now" : "overdue by " + words(-left);
  }
  const silent = (performance.now() - heard) / 1000;
  const lost = silent > 3 * EVERY / 1000 ? "This daemon has not answered for " + words(silent) + ". Ages count on; everything else is as it was." : "";
  const banner = document.getElementById("lost");
  if (banner.textContent.slice(0, 20) !== lost.slice(0, 20)) banner.textContent = lost;
}
function tell(index) {
  const slots = document.getElementById("slots"), cells = slots.dataset.cells.split(";");
  cell = Math.max(0, Math.min(cells.length - 1, index));
  const at = new Date((number(slots, "start") + cell * number(slots, "cell")) * 1000).toISOString();
  const [ended, took, run] = cells[cell].split("|");
  const told = [slots.dataset.words.split("|")[ended], took, run && "run " + run].filter(Boolean).join(", ");
  const text = at.slice(5, 16).replace("T", " ") + " UTC: " + told;
  document.getElementById("told").textContent = text;
  slots.setAttribute("aria-valuenow", cell);
  slots.setAttribute("aria-valuetext", text);
  const mark = document.getElementById("mark");
  mark.setAttribute("x", cell);
  mark.removeAttribute("visibility");
  mark.parentNode.append(mark);
}
function copies() {
  if (!navigator.clipboard) return;
  for (const button of all(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(button.previousElementSibling.textContent); } catch { return; }
      button.textContent = "Copied";
    });
  }
}
function wire() {
  copies();
  const slots = document.getElementById("slots");
  if (!slots) return;
  const count = slots.dataset.cells.split(";").length, hour = Math.round(3600 / number(slots, "cell")) || 1;
  slots.tabIndex = 0;
  slots.setAttribute("role", "slider");
  slots.setAttribute("aria-valuemin", 0);
  slots.setAttribute("aria-valuemax", count - 1);
  slots.setAttribute("aria-valuenow", count - 1);
  slots.setAttribute("aria-valuetext", slots.getAttribute("aria-label"));
  slots.addEventListener("focus", () => tell(cell === null ? count - 1 : cell));
  slots.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: hour, PageDown: -hour }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? count - 1 : step && (cell === null ? count - 1 : cell) + step;
    if (to === undefined) return;
    event.preventDefault();
    tell(to);
  });
  const point = (event) => {
    const lane = event.target.closest(".lane");
    if (!lane) return;
    const box = lane.getBoundingClientRect();
    tell(Math.floor((event.clientX - box.left) / box.width * count));
  };
  slots.addEventListener("pointermove", point);
  slots.addEventListener("pointerdown", point);
}
async function renew() {
  let next;
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    if (!answer.ok) return;
    next = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch { return; }
  heard = performance.now();
  const main = document.querySelector("main"), fresh = next.querySelector("main");
  if (!fresh || !getSelection().isCollapsed) return;
  const at = document.activeElement, holder = at && main.contains(at) && at.closest("[id]");
  const place = holder ? [holder.id, [...holder.querySelectorAll(STOPS)].indexOf(at)] : null;
  for (const open of all("main details[open]")) next.getElementById(open.id)?.setAttribute("open", "");
  main.replaceWith(fresh);
  const headline = document.getElementById("headline"), now = next.getElementById("headline");
  if (headline.textContent !== now.textContent || headline.className !== now.className) headline.replaceWith(now);
  document.title = next.title;
  document.querySelector("link[rel=icon]").href = next.querySelector("link[rel=icon]").getAttribute("href");
  made = heard;
  const told = cell;
  wire();
  if (place) {
    const again = document.getElementById(place[0]);
    (place[1] < 0 ? again : again?.querySelectorAll(STOPS)[place[1]])?.focus({ preventScroll: true });
  }
  else if (told !== null) tell(told);
  tick();
}
wire();
setInterval(tick, 1000);
setInterval(renew, EVERY);
document.documentElement.dataset.script = "on";
})();
