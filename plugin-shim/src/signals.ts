// The signals that end a process. At one, OpenCode's `serve`, `web`, `acp` and `run` end at once, and no
// hook of a plugin is called (1.18.33, November 2026). What a plugin has to do before the end is done here,
// and the signal handed on.

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const
const ends = new Set<() => Promise<unknown>>()

async function received(signal: NodeJS.Signals): Promise<void> {
  // Whoever else listens decides what the signal means, and when the process ends.
  if (process.listenerCount(signal) > 1) return
  // Another signal ends the process at once.
  for (const name of SIGNALS) process.off(name, received)
  await Promise.allSettled([...ends].map((end) => end()))
  process.kill(process.pid, signal)
}

/** Calls `end` before a signal ends this process; gives a function that takes it back. */
export function beforeSignal(end: () => Promise<unknown>): () => void {
  if (ends.size === 0) for (const signal of SIGNALS) process.on(signal, received)
  ends.add(end)
  return () => {
    ends.delete(end)
    if (ends.size === 0) for (const signal of SIGNALS) process.off(signal, received)
  }
}
