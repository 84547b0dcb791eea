//! The variables that count for a host.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Variables of an environment; children get them as they are, whether they are text or not.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// A variable's text; none if it is empty or no text.
pub(crate) fn variable(env: &Environment, name: &str) -> Option<String> {
    let value = env.get(OsStr::new(name))?.to_str()?;
    (!value.is_empty()).then(|| value.to_string())
}
