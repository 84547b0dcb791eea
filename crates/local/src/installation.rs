//! What this installation calls itself, as Daytona's organizations, regions and daemons have names.

pub(crate) const ORGANIZATION: &str = "00000000-0000-4000-8000-000000000000";
pub(crate) const REGION: &str = "local";
/// The last version that ignored the environment of a request.
pub(crate) const OLD_DAEMON_VERSION: &str = "v0.166.0-local";
pub(crate) const API_VERSION: &str = "0.216.0-local";
