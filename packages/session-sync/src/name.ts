/** What the package and the plugin are called. */
export const NAME = "opencode-session-sync"
/** The service of its log lines, and its command. */
export const SERVICE = "opencode-sync"
