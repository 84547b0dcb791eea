// The table of releases that `npm run matrix -- --write` puts into README.md, between two markers.

import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../lib/world.mjs"

const README = join(root, "README.md")
const [BEGIN, END] = ["<!-- releases: written by `npm run matrix -- --write` -->", "<!-- end of releases -->"]
const HEAD = ["| release | what the plugin does | tools | permissions | audit | work home | tested by |", "| --- | --- | --- | --- | --- | --- | --- |"]

/** What a part came to, in the words of the table. */
const of = (result, text) => (!result ? "–" : result.problems.length ? `**${result.problems.length} failed**` : text(result))

const audited = ({ tried, rounds, closed }) => `0 host effects in ${tried} rows × ${rounds} rounds${closed ? "; OpenCode refuses the README's configuration" : ""}`

/** The line of one release, which says how it was tested: of a `short` run only a few rows. */
export function line({ version, expect }, results, short = false) {
  if (results.has("installation")) return `| ${version} | ${expect} | **could not be installed** | – | – | – | – |`
  const serves = expect === "serves"
  const cells = [
    version,
    expect,
    of(results.get("smoke"), () => (serves ? "all work in the sandbox" : "all refuse, in a sentence")),
    serves ? of(results.get("permissions"), ({ passed }) => `as without the plugin, ${passed} of ${passed}`) : "–",
    of(results.get("audit"), audited),
    serves ? of(results.get("smoke"), () => "yes") : "–",
    `${[...results.keys()].join(", ")}${short ? ", in short" : ""}`,
  ]
  return `| ${cells.join(" | ")} |`
}

/** The README's lines, by release, and what stands before and behind them. */
export function table(text = readFileSync(README, "utf8")) {
  const [before, rest] = text.split(BEGIN)
  const [inside, after] = rest?.split(END) ?? []
  if (after === undefined) throw new Error(`README.md has no table of releases between ${BEGIN} and ${END}`)
  const lines = inside.trim().split("\n").slice(HEAD.length)
  return { before, after, lines: new Map(lines.map((line) => [line.split(" | ")[0].slice(2), line])) }
}

/** Puts what was run into the README; lines of other releases stay. */
export function write(done, short) {
  const { before, after, lines } = table()
  for (const { entry, results } of done) lines.set(entry.version, line(entry, results, short))
  writeFileSync(README, `${before}${BEGIN}\n${[...HEAD, ...lines.values()].join("\n")}\n${END}${after}`)
}
