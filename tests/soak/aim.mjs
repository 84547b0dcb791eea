// Kills that are aimed: at the packing of a large project, and at its upload. What is waited for is the
// thing itself: a git that packs, and the parts that arrive in the sandbox.

import { createCipheriv } from "node:crypto"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { build, shell } from "../repositories/build.mjs"

export const MB = 1 << 20

/** A repository of so many megabytes that nothing makes smaller, with an edit that is not committed. */
export function buildLarge(base, home, seed, number, megabytes) {
  const place = build({ base: "commit" }, base, home, 1_000 + number)
  for (let n = 0; n < megabytes; n++) {
    const key = Buffer.alloc(16)
    for (const [at, value] of [seed, number, n].entries()) key.writeUInt32LE(value >>> 0, 4 * at)
    const noise = createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(MB))
    writeFileSync(join(place.root, `noise${n}.dat`), noise)
  }
  shell(home, place.root, "git add .; git commit -qm noise; echo edited >> a.txt")
  return place
}

const list = (dir) => (existsSync(dir) ? readdirSync(dir) : [])

/** Bytes of a file, or none if it has gone. */
const size = (path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

function read(path) {
  try {
    return readFileSync(path, "utf8")
  } catch {
    // It has ended, or is somebody else's.
    return ""
  }
}

/** The gits that run, by number: whose they are and what they were started with. */
function gits() {
  const found = new Map()
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const args = read(`/proc/${pid}/cmdline`).split("\0")
    if (/^git(-|$)/.test(basename(args[0]))) found.set(Number(pid), { parent: parentOf(pid), args })
  }
  return found
}

/** A name in the status may have spaces and brackets; the parent's number is the second field behind it. */
const parentOf = (pid) => Number(read(`/proc/${pid}/stat`).split(") ").at(-1).split(" ")[1] ?? 0)

function isBelow(pid, ancestor) {
  for (let at = pid; at > 1; at = parentOf(at)) if (at === ancestor) return true
  return false
}

/** The gits that work below a directory and are nobody's: the OpenCode that started them is dead. */
export function orphans(dir) {
  const isOurs = ([pid, { args }]) => [...args, ...read(`/proc/${pid}/environ`).split("\0")].some((text) => text.includes(dir))
  return [...gits()].filter((git) => isOurs(git) && !isBelow(git[0], process.pid)).map(([pid, { args }]) => ({ pid, command: args.join(" ").trim() }))
}

/** While a process has git make a base pack: that git, and the bytes that it has written. */
export function packing(temporary, pid) {
  for (const name of list(temporary).filter((name) => name.split("-").at(-2) === `${pid}`)) {
    const dir = join(temporary, name)
    if (!existsSync(join(dir, "made"))) continue
    const packs = ({ parent, args }) => parent === pid && args.includes("pack-objects") && args.includes(join(dir, "base"))
    const found = [...gits()].find(([, git]) => packs(git))
    if (!found) continue
    const written = list(join(dir, "made/pack")).map((name) => size(join(dir, "made/pack", name)))
    return { git: found[0], bytes: written.reduce((sum, bytes) => sum + bytes, 0) }
  }
  return undefined
}

/** While a project of `all` bytes or more is on its way into a sandbox of daytona-local: the bytes that have arrived. */
export function uploading(data, sandbox, all) {
  if (!sandbox) return undefined
  const tmp = join(data, "sandboxes", sandbox, "tmp")
  const parts = list(tmp).filter((name) => /^\.opencode-upload-.*-pack$/.test(name))
  const arrived = parts.reduce((sum, name) => sum + size(join(tmp, name)), 0)
  return parts.length > 0 && arrived < all ? { bytes: arrived } : undefined
}
