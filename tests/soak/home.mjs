// Whether all that was promised came home, and nothing else changed: what is true after a soak, however
// much went wrong during it. Every check gives a list of complaints.

import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"

const run = (cwd, ...args) => execFileSync("git", args, { cwd, encoding: "utf8", maxBuffer: 1 << 29, stdio: ["ignore", "pipe", "pipe"] })

/** Git's name for a file with this content. */
export const blob = (content, format = "sha1") => createHash(format).update(`blob ${Buffer.byteLength(content)}\0`).update(content).digest("hex")

export const changes = (before, after) => Object.keys(before).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key])).map((key) => `the user's ${key} changed: ${JSON.stringify(before[key])} became ${JSON.stringify(after[key])}`)

/** Every object that a local branch reaches. */
function reachable(repository) {
  const listed = run(repository, "rev-list", "--objects", "--missing=allow-any", "--branches")
  return new Set(listed.split("\n").map((line) => line.split(" ")[0]))
}

/** The promises whose content is in no commit of a local branch. */
export function missing(repository, promises) {
  const objects = reachable(repository)
  const format = run(repository, "rev-parse", "--show-object-format").trim()
  return promises.filter((promise) => !objects.has(blob(promise.content, format)))
}

/** The commits of sessions that lack a file of the user's, or have another in its place: nobody made such a tree. */
export function halfMade(repository, wanted, heads) {
  const own = run(repository, "rev-list", "--glob=refs/heads/opencode", "--not", ...heads).split("\n").filter(Boolean)
  return own.flatMap((commit) => {
    const list = run(repository, "ls-tree", "-r", "-z", commit).split("\0").filter(Boolean)
    const found = new Map(list.map((line) => [line.slice(line.indexOf("\t") + 1), line.split(/[ \t]/)[2]]))
    const wrong = [...wanted].filter(([path, hash]) => found.get(path) !== hash)
    return wrong.length ? [`${commit} has ${wrong.length} of ${wanted.size} files wrong, such as ${wrong[0][0]}`] : []
  })
}

/** What the store still has to do. A note about a create that may yet come is kept for long; it is idle while no sandbox has its name. */
export function unsettled(store, sandboxes) {
  if (!store) return ["there is no store"]
  const there = new Set(sandboxes.flatMap(({ id, name }) => [id, name]))
  const left = [
    ...(store.creating ?? []).map((item) => `creating ${item.name}`),
    ...(store.cleanup ?? []).filter((item) => !item.late || there.has(item.sandbox)).map((item) => `cleanup of ${item.sandbox}: ${item.error}`),
  ]
  for (const [session, entry] of Object.entries(store.sessions ?? {})) {
    if (entry.unsynced) left.push(`${session} is not home: ${JSON.stringify(entry.unsynced)} ${entry.error ?? ""}`)
    if (entry.deleted) left.push(`${session} is not deleted: ${entry.error ?? ""}`)
  }
  return left
}

/** Sandboxes that no entry names, and entries without their sandbox. */
export function strays(store, sandboxes) {
  const named = new Set(Object.values(store?.sessions ?? {}).map((entry) => entry.sandboxId))
  const there = new Set(sandboxes.map((sandbox) => sandbox.id))
  return [
    ...sandboxes.filter(({ id }) => !named.has(id)).map(({ id, name }) => `sandbox ${name} (${id}) belongs to no session`),
    ...[...named].filter((id) => !there.has(id)).map((id) => `sandbox ${id} is in the store and nowhere else`),
  ]
}

/** Directories for temporary files, which the plugin has beside its stores; those of one process, if it is named. */
export function temporary(storeDir, pid) {
  const dir = join(storeDir, "temporary")
  const names = existsSync(dir) ? readdirSync(dir) : []
  return names.filter((name) => pid === undefined || name.split("-").at(-2) === `${pid}`).map((name) => join(dir, name))
}

/** How long a pack that nobody has finished may be kept: another process may be at it. */
const UNFINISHED_MS = 24 * 60 * 60 * 1000

/** What is wrong with the packs that are kept beside the stores: one that is described must be whole and sound. */
export function unsound(storeDir, now = Date.now()) {
  const complaints = []
  for (const dir of readdirSync(storeDir).filter((name) => name.endsWith("-packs")).map((name) => join(storeDir, name))) {
    const names = readdirSync(dir)
    const isDescribed = (name) => names.includes(`${name.split(".")[0]}.base`)
    for (const name of names.filter((name) => name.endsWith(".base"))) {
      try {
        run(dir, "verify-pack", name.replace(/base$/, "idx"))
      } catch (error) {
        complaints.push(`${join(dir, name)} describes a pack that is not whole: ${error.stderr}`)
      }
    }
    for (const name of names.filter((name) => !isDescribed(name))) {
      const age = now - statSync(join(dir, name)).mtimeMs
      if (age > UNFINISHED_MS) complaints.push(`${join(dir, name)} was never finished, and is kept for ${Math.round(age / 3_600_000)} hours`)
    }
  }
  return complaints
}
