// What a core calls in a process without an OpenCode.

import { Machine } from "./host.js"
import { die } from "./mortal.js"

export class Alone extends Machine {
  constructor(readonly name: string) {
    super()
    // Nothing else keeps the process alive while the core waits for its time.
    setInterval(() => {}, 2 ** 30)
  }

  log(): void {}
  dead(message: string): void {
    die(`${this.name} has crashed: ${message}`)
  }
}
