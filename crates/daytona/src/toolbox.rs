//! Where the toolbox of a sandbox is, and its paths.

/// Address of one sandbox's toolbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolbox {
    /// The sandbox.
    pub id: String,
    /// Base URL of the proxy.
    pub proxy_url: String,
}

/// Runs a script.
pub(crate) const EXECUTE: &str = "/process/execute";
/// Takes files.
pub(crate) const BULK_UPLOAD: &str = "/files/bulk-upload";
/// Sends a file.
pub(crate) const DOWNLOAD: &str = "/files/download";

impl Toolbox {
    /// The URL of a path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{}{path}", self.proxy_url.trim_end_matches('/'), self.id)
    }
}
