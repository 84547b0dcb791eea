// Builds the repositories of the table, and says what plain git makes of them.

import { execFileSync } from "node:child_process"
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { searchPath } from "../lib/programs.mjs"
import { blob } from "../soak/home.mjs"

/** What the home directory of the table's user has. */
export function prepareUser(home) {
  writeFileSync(join(home, ".gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n[core]\n\texcludesFile = ~/.everywhere\n[advice]\n\tdetachedHead = false\n")
  writeFileSync(join(home, ".everywhere"), "*.everywhere\n")
}

const environment = (home, more = {}) => ({ PATH: searchPath(), HOME: home, TZ: "UTC", LC_ALL: "C.UTF-8", ...more })

/** Git as the user has it. */
export const userGit = (home, cwd, ...args) => execFileSync("git", args, { cwd, encoding: "utf8", maxBuffer: 1 << 28, env: environment(home), stdio: ["ignore", "pipe", "pipe"] })

/** A command that the user types. */
export const shell = (home, cwd, script, more) => execFileSync("sh", ["-ec", script], { cwd, env: environment(home, more), encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })

/**
 * Builds the repository of a row in a directory of its own. `number` makes its first commit unlike every
 * other: OpenCode knows projects by it. Gives where it is and where OpenCode starts.
 */
export function build(kind, base, home, number) {
  const root = join(base, "project")
  mkdirSync(root, { recursive: true })
  const date = `${1_700_000_000 + number} +0000`
  const sh = (script) => shell(home, root, script, { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date })
  if (kind.base !== "none") sh("git init -q")
  if (kind.base === "commit") sh("echo alpha > a.txt; git add a.txt; git commit -qm first")
  if (kind.make) sh(kind.make)
  const dir = join(root, kind.dir ?? ".")
  return { root, dir, top: kind.base === "none" && !existsSync(join(root, ".git")) ? undefined : realpathSync(root) }
}

/**
 * What `git add --all` and a commit would make of a worktree on the host, without a trace of having asked:
 * the name of the tree, and its files with their names in git.
 */
export function committed(home, { root, top }) {
  const scratch = mkdtempSync(join(home, "scratch-"))
  try {
    const index = join(scratch, "index")
    const objects = join(scratch, "objects")
    mkdirSync(objects)
    const plain = join(scratch, "git")
    if (!top) execFileSync("git", ["init", "-q", "--bare", plain], { env: environment(home) })
    const at = (...args) => (top ? userGit(home, root, "rev-parse", "--path-format=absolute", ...args).trim() : undefined)
    const from = top ? { index: at("--git-path", "index"), objects: at("--git-path", "objects") } : { objects: join(plain, "objects") }
    if (from.index && existsSync(from.index)) writeFileSync(index, readFileSync(from.index))
    const env = environment(home, { GIT_INDEX_FILE: index, GIT_OBJECT_DIRECTORY: objects, GIT_ALTERNATE_OBJECT_DIRECTORIES: from.objects, GIT_NO_LAZY_FETCH: "1", ...(top ? {} : { GIT_DIR: plain, GIT_WORK_TREE: root }) })
    const run = (...args) => execFileSync("git", ["-c", "core.splitIndex=false", "-c", "core.hooksPath=/dev/null", ...args], { cwd: root, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim()
    run("add", "--all")
    const tree = run("write-tree")
    const lines = run("ls-tree", "-r", "-z", tree).split("\0").filter(Boolean)
    return { tree, files: new Map(lines.map((line) => [line.slice(line.indexOf("\t") + 1), line.split(/[ \t]/)[2]])) }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** All of the user's own that must stay as it is. */
export function snapshot(home, { root, top }) {
  const files = {}
  const isBare = existsSync(join(root, "HEAD"))
  const walk = (dir) => {
    for (const name of readdirSync(join(root, dir), { encoding: "buffer" })) {
      const path = join(dir, name.toString("latin1"))
      const real = Buffer.concat([Buffer.from(`${join(root, dir)}/`), name])
      // OpenCode keeps the project's id in a bare repository.
      if (path === ".git" || path.endsWith(".bare/opencode") || (path === "opencode" && isBare)) continue
      const stat = lstatSync(real)
      if (stat.isDirectory()) walk(path)
      else files[path] = stat.isFile() ? `${stat.mode} ${blob(readFileSync(real))}` : stat.isSymbolicLink() ? readlinkSync(real) : `${stat.mode}`
    }
  }
  walk(".")
  if (!top) return { files }
  const git = (...args) => {
    try {
      return userGit(home, root, ...args)
    } catch (error) {
      return `${error.stderr}`
    }
  }
  const refs = git("for-each-ref", "--format=%(refname) %(objectname)").split("\n")
  return {
    files,
    head: git("rev-parse", "--symbolic-full-name", "HEAD") + git("rev-parse", "HEAD"),
    index: git("ls-files", "--stage"),
    status: git("status", "--porcelain", "--ignored"),
    refs: refs.filter((ref) => !/^refs\/(heads|tags)\/opencode\//.test(ref)),
    config: git("config", "--list", "--local"),
    sound: git("fsck", "--full", "--no-dangling", "--no-progress"),
  }
}
