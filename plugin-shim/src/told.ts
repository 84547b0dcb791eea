// The words of errors that no core has seen: it could not be loaded, or has died. What the core says
// holds no secret (crates/plugin/src/secrets.rs); these come from the runtime.

const HIDDEN = "[hidden]"

/** An error's message without the key that the environment has, and without passwords in addresses. */
export function message(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  const keys = [process.env["DAYTONA_API_KEY"], process.env["DAYTONA_JWT_TOKEN"]].map((key) => key?.trim() ?? "")
  const plain = keys.filter((key) => key.length >= 8).reduce((said, key) => said.replaceAll(key, HIDDEN), text)
  return plain.replace(/(:\/\/)[^\s/?#]*@/g, `$1${HIDDEN}@`)
}
