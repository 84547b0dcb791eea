// The Rust tests: built with the user's own PATH, which has the compiler, and run with the named
// programs only (programs.mjs).

import { spawn } from "node:child_process"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { must } from "./setup.mjs"
import { searchPath } from "./programs.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/**
 * Builds every program, test and example of the workspace, in one call and with one set of features,
 * so that nothing is compiled twice. Gives the test programs.
 */
export function buildRust() {
  const text = must("cargo", ["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"], { capture: true })
  const messages = text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
  return messages
    .filter(({ reason, profile, executable }) => reason === "compiler-artifact" && profile.test && executable)
    .map(({ manifest_path, executable, target }) => {
      const dir = dirname(manifest_path)
      return { name: `${relative(join(root, "crates"), dir)}: ${target.kind.includes("test") ? target.name : `units of ${target.name}`}`, dir, executable }
    })
}

/** The program that takes longest: most of its tests wait, so four run at a time. */
const WAITING = "plugin: core"

/** Runs one of them as cargo does; gives its output when it ends. */
export function runRust({ name, dir, executable }) {
  return new Promise((done) => {
    const start = Date.now()
    const env = { ...process.env, PATH: searchPath(), DAYTONA_LOCAL_PROGRAMS: searchPath(), CARGO_MANIFEST_DIR: dir, RUST_BACKTRACE: "1" }
    if (name === WAITING) env.RUST_TEST_THREADS = "4"
    const child = spawn(executable, [], { cwd: dir, env, stdio: ["ignore", "pipe", "pipe"] })
    let text = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (text += data))
    child.on("error", (error) => (text += error.message))
    child.on("close", (code) => done({ code, text, seconds: (Date.now() - start) / 1000 }))
  })
}
