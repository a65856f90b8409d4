// Starts the pages.

import type { Draw } from "./page";
import { costs } from "./pages/costs";
import { failures } from "./pages/failures";
import { freshness } from "./pages/freshness";
import { growth } from "./pages/growth";
import { organizations } from "./pages/organizations";
import { overview } from "./pages/overview";
import { patterns } from "./pages/patterns";
import { questions } from "./pages/questions";
import { triggers } from "./pages/triggers";
import { types } from "./pages/types";
import { Shell } from "./shell";
import type { PageName } from "./state";

interface TrustedTypes {
  createPolicy(name: string, rules: { createHTML: (text: string) => string | null }): void;
}

// the policy of the page lets no text become markup; ECharts empties its own elements by it
(window as unknown as { trustedTypes?: TrustedTypes }).trustedTypes?.createPolicy("default", {
  createHTML: (text) => (text === "" ? "" : null),
});

const DRAWS: Record<PageName, Draw> = { overview, types, triggers, failures, growth, patterns, organizations, costs, freshness, questions };

new Shell(DRAWS).start();
