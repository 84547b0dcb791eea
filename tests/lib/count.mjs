// What the tests came to, over all parts: `N passed, N failed, N skipped`, and why those were skipped.

export class Count {
  passed = 0
  failed = 0
  /** Each skipped test, with its reason. */
  skipped = []
  /** Each part that failed. */
  failures = []
  /** Each test that failed, with the beginning of what it said: a log is often kept by its last lines only. */
  reasons = []

  /** The output of a Rust test program. Its harness counts as passed what `testkit::skip` says was skipped. */
  rust(part, code, text) {
    const sum = (pattern) => [...text.matchAll(pattern)].reduce((sum, [, number]) => sum + Number(number), 0)
    const told = [...text.matchAll(/^SKIPPED: (.*)$/gm)].map(([, line]) => line)
    const ignored = [...text.matchAll(/^test (\S+) \.\.\. ignored(?:, (.*))?$/gm)].map(([, name, why]) => `${name}: ${why ?? "ignored"}`)
    const failed = sum(/^test result: .*? (\d+) failed/gm)
    const ended = /^test result: /m.test(text)
    for (const [, name, output] of text.matchAll(/^---- (\S+) stdout ----\n([^]*?)(?=^----|^failures:|^stack backtrace:|(?![^]))/gm))
      this.#failed(part, name, output)
    this.#add(part, code, { passed: sum(/^test result: .*? (\d+) passed/gm) - told.length, failed, skipped: [...told, ...ignored], ended })
  }

  /** The output of `node --test` in the format TAP. */
  node(part, code, text) {
    const last = (word) => Number([...text.matchAll(new RegExp(`^# ${word} (\\d+)$`, "gm"))].at(-1)?.[1] ?? 0)
    const skipped = [...text.matchAll(/^ *ok \d+ - (.*?) # SKIP ?(.*)$/gm)].map(([, name, why]) => `${name}: ${why || "no reason"}`)
    const failed = /^( *)not ok \d+ - (.*)\n\1  ---\n([^]*?)^\1  \.\.\.$/gm
    for (const [, , name, details] of text.matchAll(failed)) {
      if (/^ *failureType: 'subtestsFailed'$/m.test(details)) continue
      const error = /^( *)error: (?:\|-\n((?:(?:\1  .*)?\n)*)|'(.*)'$)/m.exec(details)
      this.#failed(part, name.replace(/ # .*/, ""), error?.[2] ?? error?.[3] ?? "")
    }
    // A test that never ended is counted apart by Node.
    // A directory without a test is a mistake.
    this.#add(part, code, { passed: last("pass"), failed: last("fail") + last("cancelled"), skipped, ended: last("tests") > 0 })
  }

  #failed(part, name, output) {
    const lines = output.split("\n").map((line) => line.trim()).filter(Boolean)
    this.reasons.push([`FAILED: ${part}: ${name}`, ...lines.slice(0, 8).map((line) => `  ${line.slice(0, 800)}`)].join("\n"))
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
    const reasons = this.reasons.slice(0, 10)
    if (reasons.length < this.reasons.length) reasons.push(`… and ${this.reasons.length - reasons.length} more`)
    const lines = [...this.skipped.map((line) => `SKIPPED: ${line}`), ...reasons, ...this.failures.map((line) => `FAILED: ${line}`)]
    return [...lines, `${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped`].join("\n")
  }
}
