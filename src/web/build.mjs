// Makes the page's files: bundles, minifies, compresses, and names them by their content.
// Usage: node build.mjs SOURCE OUT   (in a folder whose node_modules has what package.json names)
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const [source, out] = process.argv.slice(2).map((path) => resolve(path));
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

/** Writes an asset, compressed; gives its name. */
function asset(name, extension, content) {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 12);
  writeFileSync(join(out, `${name}-${hash}.${extension}.gz`), gzipSync(content, { level: 9, memLevel: 9 }));
  return `assets/${name}-${hash}.${extension}`;
}

const bundle = await build({
  absWorkingDir: source,
  entryPoints: { page: "main.ts", style: "style.css" },
  nodePaths: [resolve("node_modules")],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  // The licences of what is bundled ask to be passed on with it.
  legalComments: "eof",
  outdir: out,
  write: false,
  logLevel: "warning",
});
const bundled = (extension) => bundle.outputFiles.find((file) => file.path.endsWith(extension)).contents;
const names = {
  SCRIPT: asset("page", "js", bundled(".js")),
  STYLE: asset("style", "css", bundled(".css")),
  ICON: asset("icon", "svg", readFileSync(join(source, "icon.svg"))),
};
const page = readFileSync(join(source, "index.html"), "utf8");
writeFileSync(
  join(out, "index.html"),
  page.replace(/@(SCRIPT|STYLE|ICON)@/g, (_, which) => names[which]),
);
