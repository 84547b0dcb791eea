//! Programs that sandboxes get: out of npm's packages, and into sandboxes of a real `daytona-local`.

mod package;
mod place;
mod registry;
