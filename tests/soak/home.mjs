// Whether all that was promised came home, and nothing else changed: what is true after a soak, however
// much went wrong during it. Every check gives a list of complaints.

import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"

const run = (cwd, ...args) => execFileSync("git", args, { cwd, encoding: "utf8", maxBuffer: 1 << 29, stdio: ["ignore", "pipe", "pipe"] })

/** Git's name for a file with this content. */
export const blob = (content) => createHash("sha1").update(`blob ${Buffer.byteLength(content)}\0`).update(content).digest("hex")

/** What of the user's own must stay as it is. */
export function userState(project) {
  const files = {}
  const walk = (dir) => {
    for (const name of readdirSync(join(project, dir)).filter((name) => dir || name !== ".git")) {
      const path = join(dir, name)
      if (statSync(join(project, path)).isDirectory()) walk(path)
      else files[path] = blob(readFileSync(join(project, path)))
    }
  }
  walk("")
  const own = run(project, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/stash").split("\n")
  return {
    HEAD: run(project, "symbolic-ref", "HEAD") + run(project, "rev-parse", "HEAD"),
    index: run(project, "ls-files", "--stage"),
    status: run(project, "status", "--porcelain", "--ignored"),
    branches: own.filter((ref) => !ref.startsWith("refs/heads/opencode/")).join("\n"),
    files,
  }
}

export const changes = (before, after) => Object.keys(before).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key])).map((key) => `the user's ${key} changed: ${JSON.stringify(before[key])} became ${JSON.stringify(after[key])}`)

/** Every object that a local branch reaches. */
function reachable(project) {
  return new Set(run(project, "rev-list", "--objects", "--branches").split("\n").map((line) => line.slice(0, 40)))
}

/** The promises whose content is in no commit of a local branch. */
export function missing(project, promises) {
  const objects = reachable(project)
  return promises.filter((promise) => !objects.has(blob(promise.content)))
}

/** The commits of sessions that lack a file of the user's, or have another in its place: nobody made such a tree. */
export function halfMade(project, files) {
  const own = run(project, "rev-list", "--glob=refs/heads/opencode", "--not", "main").split("\n").filter(Boolean)
  const wanted = new Map(files.map((path) => [path, blob(readFileSync(join(project, path)))]))
  return own.flatMap((commit) => {
    const list = run(project, "ls-tree", "-r", "-z", commit).split("\0").filter(Boolean)
    const found = new Map(list.map((line) => [line.slice(line.indexOf("\t") + 1), line.split(/[ \t]/)[2]]))
    const wrong = [...wanted].filter(([path, hash]) => found.get(path) !== hash)
    return wrong.length ? [`${commit} has ${wrong.length} of ${wanted.size} files wrong, such as ${wrong[0][0]}`] : []
  })
}

export function fsck(project) {
  try {
    run(project, "fsck", "--full", "--no-dangling", "--no-progress")
    return []
  } catch (error) {
    return [`git fsck: ${error.stdout}${error.stderr}`]
  }
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

export const temporary = (dir) => (existsSync(dir) ? readdirSync(dir).filter((name) => name.startsWith("opencode-daytona-")) : [])
