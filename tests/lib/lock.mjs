// Whether the npm packages that are installed are those of the lock file.

import { readFileSync } from "node:fs"
import { join } from "node:path"

const read = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8")).packages
  } catch {
    return undefined
  }
}

/**
 * Compares what npm has written down about `node_modules` with the lock file, package by package.
 * By content, not by time: a checkout of another commit may give a lock file any time.
 */
export function installedAsLocked(root) {
  const locked = read(join(root, "package-lock.json"))
  const installed = read(join(root, "node_modules/.package-lock.json"))
  if (!locked || !installed) return false
  const same = (path) => installed[path]?.version === locked[path]?.version && installed[path]?.integrity === locked[path]?.integrity
  // An optional package may be one of another platform.
  const expected = Object.keys(locked).filter((path) => path && (installed[path] || !locked[path].optional))
  return expected.every(same) && Object.keys(installed).every((path) => locked[path])
}
