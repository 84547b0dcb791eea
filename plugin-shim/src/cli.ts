#!/usr/bin/env node
// `npx opencode-daytona-sandbox …`. What it does is in crates/plugin/src/doctor.rs.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { Alone } from "./alone.js"
import { load } from "./core.js"

const here = dirname(fileURLToPath(import.meta.url))
const directory = process.cwd()
const [assets, shell] = [join(here, "runners"), join(here, "sandbox-shell")]
const call = load(new Alone(), { directory, worktree: "", projectId: "", projectSince: null, options: null, assets, shell, javascript: process.execPath })
const { output, exit } = await call("cli", { args: process.argv.slice(2), directory })
process.stdout.write(output, () => process.exit(exit))
