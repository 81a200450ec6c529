// Reads an array of Vega-Lite specifications, compiles each and draws it without a screen. Writes
// what came out as JSON; a warning ends it. The argument is the directory of the minified files.
import fs from "node:fs";
import vm from "node:vm";

for (const file of ["vega.min.js", "vega-lite.min.js"]) {
  vm.runInThisContext(fs.readFileSync(`${process.argv[2]}/${file}`, "utf8"), file);
}
const warnings = [];
const log = {
  level() { return this; },
  error(...a) { warnings.push(a.join(" ")); return this; },
  warn(...a) { warnings.push(a.join(" ")); return this; },
  info() { return this; },
  debug() { return this; },
};
const out = [];
for (const spec of JSON.parse(fs.readFileSync(0, "utf8"))) {
  spec.width = 640; // there is no container
  const { spec: compiled } = vegaLite.compile(spec, { logger: log });
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logger: log });
  const svg = await view.toSVG();
  out.push({
    name: spec.name,
    marks: (svg.match(/aria-roledescription="(bar|point|line mark|area mark|line mark container|[a-z ]*)"/g) ?? []).length,
    labels: [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map((m) => m[1].replaceAll("&amp;", "&")),
  });
  if (/NaN|undefined/.test(svg)) warnings.push(`${spec.name}: NaN or undefined in the drawing`);
  if (process.argv[3]) fs.writeFileSync(`${process.argv[3]}/${spec.name}.svg`, svg);
  view.finalize();
}
if (warnings.length > 0) {
  console.error(warnings.join("\n"));
  process.exit(1);
}
console.log(JSON.stringify(out));
