/** What the package, its command, the plugin and the service of its log lines are called. */
export const NAME = "opencode-daytona-sandbox"
