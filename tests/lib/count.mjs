// What the tests came to, over all parts: `N passed, N failed, N skipped`, and why those were skipped.

export class Count {
  passed = 0
  failed = 0
  /** Each skipped test, with its reason. */
  skipped = []
  /** Each part that failed. */
  failures = []

  /** The output of a Rust test program. Its harness counts as passed what `testkit::skip` says was skipped. */
  rust(part, code, text) {
    const sum = (pattern) => [...text.matchAll(pattern)].reduce((sum, [, number]) => sum + Number(number), 0)
    const told = [...text.matchAll(/^SKIPPED: (.*)$/gm)].map(([, line]) => line)
    const ignored = [...text.matchAll(/^test (\S+) \.\.\. ignored(?:, (.*))?$/gm)].map(([, name, why]) => `${name}: ${why ?? "ignored"}`)
    const failed = sum(/^test result: .*? (\d+) failed/gm)
    const ended = /^test result: /m.test(text)
    this.#add(part, code, { passed: sum(/^test result: .*? (\d+) passed/gm) - told.length, failed, skipped: [...told, ...ignored], ended })
  }

  /** The output of `node --test` in the format TAP. */
  node(part, code, text) {
    const last = (word) => Number([...text.matchAll(new RegExp(`^# ${word} (\\d+)$`, "gm"))].at(-1)?.[1] ?? 0)
    const skipped = [...text.matchAll(/^ *ok \d+ - (.*?) # SKIP ?(.*)$/gm)].map(([, name, why]) => `${name}: ${why || "no reason"}`)
    // A test that never ended is counted apart by Node.
    // A directory without a test is a mistake.
    this.#add(part, code, { passed: last("pass"), failed: last("fail") + last("cancelled"), skipped, ended: last("tests") > 0 })
  }

  #add(part, code, { passed, failed, skipped, ended }) {
    // A program that ended in the middle has a failure that it did not count.
    const broken = failed === 0 && (code !== 0 || !ended)
    this.passed += passed
    this.failed += broken ? 1 : failed
    this.skipped.push(...skipped.map((line) => `${part}: ${line}`))
    if (broken) this.failures.push(`${part} (exit code ${code}${ended ? "" : ", and it did not say what it came to"})`)
    else if (failed) this.failures.push(`${part} (${failed} failed)`)
  }

  report() {
    const lines = [...this.skipped.map((line) => `SKIPPED: ${line}`), ...this.failures.map((line) => `FAILED: ${line}`)]
    return [...lines, `${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped`].join("\n")
  }
}
