#!/usr/bin/env node
// `opencode-sync …`. What it does is in crates/session-sync/src/cli.rs.

import { load } from "./core.js"
import { Terminal } from "./terminal.js"

const call = await load(new Terminal(), process.cwd())
const { exit } = await call("command", { args: process.argv.slice(2) })
process.stdout.write("", () => process.exit(exit))
