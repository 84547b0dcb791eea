// The programs that tests, demo, benchmark and `npm start` may find. This is the one list: set-up
// makes a directory of links to exactly these, and OpenCode, the plugin, daytona-local and the
// search path in its sandboxes have that directory alone as their PATH. So a program that is missing
// in this list is missing on every machine, not only on the next one.
//
// A program that is named by its full path is outside of this: `/bin/sh` and `/bin/bash`, which
// daytona-local and scripts start that way, and what git starts from its own directory.

import { spawnSync } from "node:child_process"
import { accessSync, constants, existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs"
import { delimiter, join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** Every program: the names, the package that brings them on Debian, and what they are needed for. */
export const PROGRAMS = [
  { names: "git", package: "git", why: "packs the project and lands the work, on the host and in sandboxes" },
  { names: "bwrap", package: "bubblewrap", why: "daytona-local's sandboxes" },
  { names: "slirp4netns", package: "slirp4netns", why: "networks of daytona-local's sandboxes that lead outward" },
  { names: "ip", package: "iproute2", why: "a machine outside of the one that sandboxes are on, in tests of their networks" },
  { names: "bash sh", package: "bash", why: "OpenCode's own bash tool, the runner, sandbox-shell" },
  { names: "gzip", package: "gzip", why: "unpacks the runner in a sandbox" },
  { names: "curl", package: "curl", why: "webfetch and websearch in a sandbox" },
  { names: "python3", package: "python3", why: "the server in a sandbox that a preview is shown of" },
  { names: "pgrep ps", package: "procps", why: "OpenCode ends the processes of a server of its own with pgrep; tests look who is there" },
  { names: "strace", package: "strace", why: "the audit's trace of processes" },
  { names: "setpriv setsid kill nsenter unshare taskset", package: "util-linux", why: "tests that need another user, another session, mounts of their own or fewer cores" },
  { names: "mount", package: "mount", why: "tests with disks that do not run programs, or are full" },
  { names: "tmux", package: "tmux", why: "a terminal for the test of OpenCode's terminal UI" },
  { names: "tar", package: "tar", why: "unpacks what `npm pack` made" },
  { names: "hostname", package: "hostname", why: "tests ask which machine they are on" },
  { names: "diff cmp", package: "diffutils", why: "commands of the parity tables" },
  { names: "find xargs", package: "findutils", why: "parity lists the tree of both sides" },
  { names: "grep", package: "grep", why: "commands of tests" },
  { names: "sed", package: "sed", why: "commands of tests; git's own scripts" },
  { names: "awk", package: "mawk", why: "commands of tests" },
  {
    names:
      "base64 basename cat chmod cp cut date dd dirname du echo env expr false head id ln ls mkdir mkfifo mktemp mv nohup od printf pwd readlink realpath rm rmdir seq sha256sum sleep sort stat stty tail tee test timeout touch tr true truncate uname uniq wc whoami yes",
    package: "coreutils",
    why: "commands of tests, sandbox-shell, and what the plugin's script asks a sandbox",
  },
]

/** Where the system has its programs. Before the user's PATH, because only these are seen in a sandbox, and a wrapper in a home may need more of it. */
const SYSTEM = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]

const runs = (path) => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const find = (name, dirs) => dirs.filter(Boolean).map((dir) => join(dir, name)).find(runs)

/** ripgrep of the npm package: the binary is in the package of the platform. */
export const ripgrep = () => join(root, `node_modules/@vscode/ripgrep-${process.platform}-${process.arch}/bin/rg`)

/** Path of every program by name, and the entries of the table of which one is missing. */
export function look(path = process.env.PATH ?? "") {
  const dirs = [...SYSTEM, ...path.split(delimiter).filter((dir) => resolve(dir) !== directory())]
  const found = new Map([
    ["rg", ripgrep()],
    ["node", process.execPath],
    // Beside node, where an installation has both.
    ["npm", find("npm", [dirname(process.execPath), ...dirs])],
  ])
  const missing = []
  for (const entry of PROGRAMS) {
    for (const name of entry.names.split(" ")) {
      const at = find(name, dirs)
      if (at) found.set(name, at)
      else missing.push({ name, ...entry })
    }
  }
  return { found, missing }
}

/** The directory of links. */
export function directory() {
  return join(root, ".cache/programs")
}

/** The PATH of everything that is tested. Fails if set-up has not been there. */
export function searchPath() {
  if (!existsSync(directory())) throw new Error(`${directory()} is missing; \`npm test\` and \`npm run demo\` make it, or \`node tests/lib/setup.mjs\` alone`)
  return directory()
}

/** Makes the directory hold a link to each of these, and nothing else. Links that are right stay, so that two runs do not disturb each other. */
export function fill(dir, programs) {
  mkdirSync(dir, { recursive: true })
  for (const name of readdirSync(dir)) if (!programs.has(name)) rmSync(join(dir, name), { recursive: true })
  for (const [name, path] of programs) {
    const link = join(dir, name)
    if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() && readlinkSync(link) === path) continue
    const made = `${link}.${process.pid}`
    symlinkSync(path, made)
    renameSync(made, link)
  }
}

/** Whether this system's packages can be installed without a question. */
const mayInstall = () => process.getuid?.() === 0 && existsSync("/etc/debian_version")

/** What a user must do about programs that are missing, in one sentence. */
export function advice(missing) {
  const names = missing.map(({ name, why }) => `${name} (${why})`).join(", ")
  return `Missing: ${names}. On Debian and Ubuntu: \`sudo apt-get install ${[...new Set(missing.map((entry) => entry.package))].join(" ")}\`; elsewhere, the packages of these names.`
}

/** Finds every program, installs what is missing where that needs no question, and makes the directory. Gives a sentence if something is missing all the same. */
export function providePrograms() {
  let { found, missing } = look()
  if (missing.length && mayInstall()) {
    const packages = [...new Set(missing.map((entry) => entry.package))]
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" }
    for (const args of [["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", ...packages]]) {
      const done = spawnSync("apt-get", args, { encoding: "utf8", env })
      if (done.status !== 0) return `apt-get ${args.join(" ")} failed: ${(done.stderr ?? String(done.error)).trim()}\n${advice(missing)}`
    }
    ;({ found, missing } = look())
  }
  if (missing.length) return advice(missing)
  if (!found.get("npm")) return "npm is missing; it comes with Node: https://nodejs.org"
  if (!runs(found.get("rg"))) return `${found.get("rg")} is missing: the npm package @vscode/ripgrep has no rg for ${process.platform} on ${process.arch}, or optional packages were left out; run \`npm ci --include=optional\`.`
  fill(directory(), found)
}
