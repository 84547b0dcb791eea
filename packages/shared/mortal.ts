// The core can die (a panic), and a promise of a dead core never settles.

// All instances of this process share the core's memory and die with it, those to come too.
let death: Error | undefined
const mourners = new Set<(error: Error) => void>()

/** The core has died: every call fails with these words from now on. */
export function die(message: string): void {
  death = new Error(message)
  for (const reject of mourners) reject(death)
}

/**
 * Settles like `promise`, or rejects when the core dies. (`Promise.race` with one long-lived promise
 * would keep every result for ever.)
 */
export async function mortal<T>(promise: Promise<T>): Promise<T> {
  if (death) throw death
  let reject!: (error: Error) => void
  const dying = new Promise<never>((_, fail) => (reject = fail))
  mourners.add(reject)
  try {
    return await Promise.race([promise, dying])
  } finally {
    mourners.delete(reject)
  }
}
