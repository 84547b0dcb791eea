// The words of errors that no core has seen: it could not be loaded, or has died. What the core says
// holds no secret (crates/plugin/src/secrets.rs); these come from the runtime.

/** Of every package: whichever says it, no key is shown. */
const KEYS = ["DAYTONA_API_KEY", "DAYTONA_JWT_TOKEN", "OPENCODE_SYNC_API_KEY"]
const HIDDEN = "[hidden]"

/** An error's message without the keys that the environment has, and without passwords in addresses. */
export function message(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  const keys = KEYS.map((name) => process.env[name]?.trim() ?? "")
  const plain = keys.filter((key) => key.length >= 8).reduce((said, key) => said.replaceAll(key, HIDDEN), text)
  return plain.replace(/(:\/\/)[^\s/?#]*@/g, `$1${HIDDEN}@`)
}
