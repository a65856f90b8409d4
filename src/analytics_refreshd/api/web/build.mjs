// Builds the pages into the folder that is named, or `built`: equal bytes on every machine.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "built");

const result = await build({
  absWorkingDir: here,
  entryPoints: ["src/pages.ts", "src/pages.css"],
  outdir: "built",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: { js: "// Licences of what this holds: licences.txt", css: "/* Part of analytics-refreshd, Apache-2.0 */" },
  metafile: true,
  write: false,
  logLevel: "warning",
});

/** The text of every licence and notice of a package. */
function terms(folder) {
  const named = (place) => readdirSync(place).filter((name) => /^(licen[cs]e|notice|copyright)/i.test(name)).sort();
  const more = existsSync(join(folder, "licenses")) ? join(folder, "licenses") : null;
  const files = [...named(folder).filter((name) => name !== "licenses").map((name) => join(folder, name))];
  if (more) files.push(...readdirSync(more).sort().map((name) => join(more, name)));
  return files.map((file) => readFileSync(file, "utf8").trim()).join("\n\n");
}

/** The hash of all that the pages are built from: who has no node sees by it that they were not built again. */
function sourcesHash() {
  const inside = (folder) => readdirSync(join(here, folder), { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? inside(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]));
  const names = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json", ...inside("src")];
  const found = createHash("sha256");
  for (const name of names.sort()) found.update(`${name}\0`).update(readFileSync(join(here, name)));
  return found.digest("hex");
}

const used = new Set();
for (const file of Object.keys(result.metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file);
  if (found) used.add(found[1]);
}
const licences = [...used].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return `${"=".repeat(72)}\n${name} ${version}, ${license}\n${"=".repeat(72)}\n\n${terms(folder)}\n`;
});

mkdirSync(out, { recursive: true });
const hash = createHash("sha256");
for (const file of result.outputFiles) {
  hash.update(file.contents);
  writeFileSync(join(out, file.path.slice(join(here, "built").length + 1)), file.contents);
}
const version = hash.digest("hex").slice(0, 16);
const page = readFileSync(join(here, "src", "index.html"), "utf8").replaceAll("VERSION", version);
writeFileSync(join(out, "index.html"), page);
writeFileSync(join(out, "sources.sha256"), `${sourcesHash()}\n`);
writeFileSync(join(out, "licences.txt"), `What the pages hold of other projects.\n\n${licences.join("\n")}`);
