// One command that the user typed as `!command`: a process of its own, started by `sandbox-shell`
// in OpenCode's place of a shell. Runs the command in the session's sandbox.

import { Command } from "./command.js"
import { load } from "./core.js"
import { message } from "./shared/told.js"

const call = 1
try {
  const { init, session, turn } = JSON.parse(process.env["OPENCODE_DAYTONA_SHELL"] ?? "")
  const core = load(new Command(), init)
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => void core("abort", { call }).catch(() => process.exit(1)))
  }
  const { rest, exit } = await core("shell", { call, sessionId: session, command: process.argv[2] ?? "", turn: turn ?? null })
  process.stdout.write(rest, () => process.exit(exit))
} catch (error) {
  process.stderr.write(`${message(error)}\n`, () => process.exit(1))
}
