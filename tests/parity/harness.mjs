// The differential harness: the same calls in the real OpenCode twice, once plain on a copy of the
// tree and once with the plugin and the tree in a sandbox; then every tool part and both trees are
// compared. Roots, and nothing else, are mapped to one name.

import { createHash } from "node:crypto"
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { createWorld } from "../lib/world.mjs"
import { binaries, files } from "./cases.mjs"

const SANDBOX = "/home/daytona/project"
const allow = { permission: { "*": "allow", external_directory: "allow" } }

/** Runs the calls one after another in one turn; gives their parts and the tree afterwards. */
async function side({ plain, calls, model }) {
  const world = await createWorld({
    files,
    config: plain ? { ...allow, plugin: [], snapshot: false } : { ...allow },
    local: plain ? null : undefined,
  })
  try {
    for (const [path, content] of Object.entries(binaries)) {
      mkdirSync(dirname(join(world.project, path)), { recursive: true })
      writeFileSync(join(world.project, path), content)
    }
    const root = plain ? world.project : SANDBOX
    const text = JSON.stringify(calls).replaceAll("ROOT", root)
    world.model.scripts.all = JSON.parse(text).map(([tool, args]) => ({ calls: [[tool, args]] }))
    const list = "find . -path ./.git -prune -o -path ./ignored -prune -o -name '*.log' -prune -o \\( -type f -o -type l \\) -printf '%M %p ' -exec sh -c 'sha256sum < \"$1\"' _ {} \\; | sort -k2"
    world.model.scripts.tree = [{ calls: [["bash", { command: list }]] }]
    const opencode = await world.serve()
    const session = await opencode.session()
    const results = await opencode.prompt(session, "script:all", { model })
    const [tree] = await opencode.prompt(session, "script:tree", { model })
    const map = (value) => JSON.parse(JSON.stringify(value ?? null).replaceAll(root, "<root>"))
    return { results: results.map(map), tree: tree.output }
  } finally {
    await world.close()
  }
}

/**
 * What counts: everything but the place where output was saved, and the order in which files were
 * found, which in OpenCode is that of threads (glob, grep) or of the directory on disk (names that
 * are suggested), and not the same twice.
 */
function comparable({ tool, status, output, error, title, metadata, attachments }) {
  const sorted = (text, separator) => text.split(separator).sort().join(separator)
  const place = (text) => {
    if (typeof text !== "string") return text
    if (tool === "glob") return sorted(text, "\n")
    if (tool === "grep") return sorted(text.replace(/^Found .*\n/, "$&\n\n").trimEnd(), "\n\n\n")
    const [head, names] = text.split("\n\nDid you mean one of these?\n")
    if (names !== undefined) return `${head}\n\nDid you mean one of these?\n${sorted(names, "\n")}`
    return text.replace(/(Full output saved to: )\S+/, "$1<file>")
  }
  const { outputPath, ...rest } = metadata ?? {}
  const files = (attachments ?? []).map(({ type, mime, url }) => ({ type, mime, url }))
  const shown = typeof rest.output === "string" ? { ...rest, output: place(rest.output) } : rest
  return { tool, status, output: place(output), error: place(error), title, metadata: { ...shown, saved: outputPath !== undefined }, attachments: files }
}

/** Paths of the fields in which two values differ, with both values. */
export function differences(a, b, path = "") {
  if (JSON.stringify(a) === JSON.stringify(b)) return []
  const bothObjects = a && b && typeof a === "object" && typeof b === "object"
  if (!bothObjects) return [{ path, opencode: a, plugin: b }]
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  return keys.flatMap((key) => differences(a[key], b[key], path ? `${path}.${key}` : key))
}

/** Compares all rows; gives one entry per row that differs. */
export async function compare(rows, model) {
  const calls = rows.map(([tool, args]) => [tool, args])
  const [plain, plugin] = await Promise.all([side({ plain: true, calls, model }), side({ plain: false, calls, model })])
  const found = rows.map(([tool, args, why], index) => {
    const [a, b] = [plain.results[index], plugin.results[index]]
    const differs = a && b ? differences(comparable(a), comparable(b)) : [{ path: "part", opencode: a, plugin: b }]
    return { tool, args, why, differs }
  })
  return { rows: found, trees: [plain.tree, plugin.tree] }
}
