// The signals that end a process. At one, OpenCode's `serve`, `web`, `acp` and `run` end at once, and no
// hook of a plugin is called (1.18.33, November 2026). What a plugin has to do before the end is done here,
// and the signal sent again.

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const

class Ends {
  readonly all = new Set<() => Promise<unknown>>()
  readonly received = async (signal: NodeJS.Signals): Promise<void> => {
    // Another signal ends the process at once.
    for (const name of SIGNALS) process.off(name, this.received)
    await Promise.allSettled([...this.all].map((end) => end()))
    // Whoever else listens may have left the end to us, because we did.
    process.kill(process.pid, signal)
  }
}

// Copies of this file in one process (two copies of the package, two packages) wait for each other.
const shared = globalThis as unknown as Record<symbol, Ends | undefined>
const ends = (shared[Symbol.for("opencode-daytona: before a signal ends this process")] ??= new Ends())

/** Calls `end` before a signal ends this process; gives a function that takes it back. */
export function beforeSignal(end: () => Promise<unknown>): () => void {
  if (ends.all.size === 0) for (const signal of SIGNALS) process.on(signal, ends.received)
  ends.all.add(end)
  return () => {
    ends.all.delete(end)
    if (ends.all.size === 0) for (const signal of SIGNALS) process.off(signal, ends.received)
  }
}
