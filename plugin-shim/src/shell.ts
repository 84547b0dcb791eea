// One command that the user typed as `!command`: a process of its own, started by `sandbox-shell`
// in OpenCode's place of a shell. Runs the command in the session's sandbox.

import { load } from "./core.js"
import { Machine } from "./host.js"
import { die } from "./mortal.js"
import type { Progress } from "./generated/types.js"

/** What the core calls; there is no OpenCode here, and whoever typed the command allows it. */
class Side extends Machine {
  async ask(): Promise<boolean> {
    return true
  }
  async parent(): Promise<undefined> {}
  progress(_: number, json: string): void {
    const { output }: Progress = JSON.parse(json)
    process.stdout.write(output)
  }
  toast(): void {}
  log(): void {}
  dead(message: string): void {
    die(message)
  }
}

const call = 1
try {
  const { init, session } = JSON.parse(process.env["OPENCODE_DAYTONA_SHELL"] ?? "")
  const core = load(new Side(), init)
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => void core("abort", { call }).catch(() => process.exit(1)))
  }
  const { rest, exit } = await core("shell", { call, sessionId: session, command: process.argv[2] ?? "" })
  process.stdout.write(rest, () => process.exit(exit))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`, () => process.exit(1))
}
