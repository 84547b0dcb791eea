#!/usr/bin/env node
// `npx opencode-daytona-sandbox …`. What it does is in crates/plugin/src: doctor.rs and plugin/snapshot.rs.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { Command } from "./command.js"
import { load } from "./core.js"

const here = dirname(fileURLToPath(import.meta.url))
const directory = process.cwd()
const [assets, shell] = [join(here, "runners"), join(here, "sandbox-shell")]
const call = load(new Command(), { directory, worktree: "", projectId: "", projectSince: null, options: null, assets, shell, javascript: process.execPath })
const number = 1
let interrupts = 0
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  // What is under way is ended in order; who asks again does not wait for that.
  process.on(signal, () => (interrupts++ ? process.exit(130) : void call("abort", { call: number }).catch(() => process.exit(1))))
}
const { output, exit } = await call("cli", { call: number, args: process.argv.slice(2), directory })
process.stdout.write(output, () => process.exit(exit))
