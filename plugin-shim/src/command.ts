// What the core calls in the command line program and in the stand-in for a shell.

import { NAME } from "./name.js"
import { Alone } from "./shared/alone.js"

export class Command extends Alone {
  constructor() {
    super(NAME)
  }

  /** Nobody is asked: the user typed the command. */
  async ask(): Promise<boolean> {
    return true
  }
  async parent(): Promise<undefined> {}
  terminal(): boolean {
    return true
  }
}
