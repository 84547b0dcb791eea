// Generated from crates/plugin/src/release.rs by `cargo xtask types`. Do not edit.
// Said where the core is not loaded: by releases up to 1.3, and by OpenCode 2.

export const refusals = {
  "tooOld": {
    "harmless": [
      "invalid",
      "plan_enter",
      "plan_exit",
      "question",
      "todoread",
      "todowrite"
    ],
    "text": "opencode-daytona-sandbox needs OpenCode 1.15.13 or later, and this is {release}: update it with `opencode upgrade 1.18.33`. Until then nothing runs, neither in a sandbox nor on this machine.",
    "tools": [
      "apply_patch",
      "bash",
      "batch",
      "codesearch",
      "edit",
      "glob",
      "grep",
      "job",
      "list",
      "lsp",
      "multiedit",
      "patch",
      "preview",
      "read",
      "skill",
      "sync",
      "task",
      "webfetch",
      "websearch",
      "write"
    ]
  },
  "two": {
    "text": "This release of opencode-daytona-sandbox does not serve OpenCode 2 yet, and this is {release}: stay on 1.18 with `npm install --global opencode-ai@1.18.33`, or remove the plugin from OpenCode's configuration. Until then nothing runs, neither in a sandbox nor on this machine.",
    "tools": [
      "edit",
      "glob",
      "grep",
      "patch",
      "read",
      "shell",
      "skill",
      "webfetch",
      "websearch",
      "write"
    ]
  }
}
