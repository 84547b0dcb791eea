// The releases of Daytona's clients that daytona-local is tested with, and their installation: the
// newest of each language that the package registries have, and two older ones. Every version is exact.
// `node tests/lib/sdks.mjs` installs them.

import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")
const PINNED = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies["@daytona/sdk"]

/** `why` says why this one is in the list. */
export const SDKS = [
  { language: "typescript", name: "@daytonaio/sdk", version: "0.218.0", why: "the newest, under its older name" },
  { language: "typescript", name: "@daytona/sdk", version: PINNED, why: "the newest under its name of today, with which everything is tested" },
  { language: "typescript", name: "@daytonaio/sdk", version: "0.187.0", why: "of the time of the public daemon 0.190, whose own client cannot be installed" },
  { language: "python", name: "daytona", version: "0.226.1", why: "the newest" },
  { language: "python", name: "daytona", version: "0.216.1", why: "of the time of the newest TypeScript client" },
  { language: "python", name: "daytona", version: "0.190.0", why: "of the time of the public daemon 0.190" },
]

const isPinned = ({ language, version }) => language === "typescript" && version === PINNED

/** Where a release is, or will be, installed: the pinned one with the packages of the repository. */
const directory = (sdk) => (isPinned(sdk) ? root : join(root, ".cache/sdk", `${sdk.language}-${sdk.version}`))

/** Where Node finds the client. */
export const modulePath = (sdk) => createRequire(join(directory(sdk), "package.json")).resolve(sdk.name)

/** The client as a module of Node. */
export const load = (sdk) => createRequire(import.meta.url)(modulePath(sdk))

/** The Python that has the client. */
export const python = (sdk) => join(directory(sdk), "bin/python")

function must(what, command, args, cwd) {
  const { status, stderr, stdout, error } = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 })
  if (status !== 0) throw new Error(`${what} cannot be installed: \`${command} ${args.join(" ")}\` failed: ${(stderr || stdout || error?.message || "").trim().slice(-600)}`)
}

const installers = {
  typescript(dir, what, { name, version }) {
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, "package.json"), JSON.stringify({ private: true }))
    must(what, "npm", ["install", "--save-exact", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel", "error", `${name}@${version}`], dir)
  },
  python(dir, what, { name, version }) {
    must(`${what} (it needs Python 3 with the module venv, on Debian the package python3-venv)`, "python3", ["-m", "venv", dir])
    must(what, join(dir, "bin/python"), ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", `${name}==${version}`])
  },
}

/** Installs what is not installed yet. Throws a sentence if that cannot be done. */
export function ensureSdks() {
  for (const sdk of SDKS) {
    const dir = directory(sdk)
    // A virtual environment cannot be moved, so the mark that it is whole is a file of its own.
    const whole = join(dir, ".whole")
    if (isPinned(sdk) || existsSync(whole)) continue
    rmSync(dir, { recursive: true, force: true })
    installers[sdk.language](dir, `${sdk.name} ${sdk.version} for ${sdk.language}`, sdk)
    writeFileSync(whole, "")
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    ensureSdks()
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
