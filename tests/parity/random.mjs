// Random numbers that are the same for the same seed, on every machine.

/** A generator for the given numbers (a seed, and what it is for). */
export function randomFor(...numbers) {
  // mulberry32 over a hash of the numbers.
  let state = numbers.reduce((hash, number) => Math.imul(hash ^ number, 0x9e3779b1) + ((hash >>> 15) | 0), 0x51ed270b)
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  for (let warm = 0; warm < 8; warm++) next()
  const random = {
    /** An integer from `low` to `high`, both included. */
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (p) => next() < p,
    pick: (list) => list[Math.floor(next() * list.length)],
    /** One of `[weight, value]`. */
    weighted(list) {
      let left = next() * list.reduce((sum, [weight]) => sum + weight, 0)
      return (list.find(([weight]) => (left -= weight) < 0) ?? list[0])[1]
    },
    many: (count, make) => Array.from({ length: count }, (_, n) => make(n)),
    shuffle(list) {
      const out = [...list]
      for (let at = out.length - 1; at > 0; at--) {
        const other = random.int(0, at)
        ;[out[at], out[other]] = [out[other], out[at]]
      }
      return out
    },
  }
  return random
}
