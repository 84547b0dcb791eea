//! The option `carry`: what of a project goes into a sandbox, and how much.

use serde_json::Value;

/// What it must be.
pub(super) const EXPECTED: &str = "an object of paths (an array of paths relative to the project) and maxMegabytes (a whole number from 1 on)";
const MAX_MEGABYTES: u64 = 1_000_000;

/// What is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// Paths relative to the worktree that go into the sandbox; all of it if there are none.
    pub paths: Vec<String>,
    /// Most bytes that are carried, in either direction.
    pub max_bytes: u64,
}

impl Default for Carry {
    fn default() -> Self {
        Carry {
            paths: Vec::new(),
            max_bytes: git_bridge::MAX_PACK,
        }
    }
}

/// Reads it.
pub(super) fn read(value: &Value) -> Option<Carry> {
    let mut carry = Carry::default();
    for (name, value) in value.as_object()? {
        match name.as_str() {
            "paths" => carry.paths = value.as_array()?.iter().map(path).collect::<Option<_>>()?,
            "maxMegabytes" => {
                let megabytes = value.as_u64();
                let megabytes = megabytes.filter(|n| (1..=MAX_MEGABYTES).contains(n))?;
                carry.max_bytes = megabytes * 1_000_000;
            }
            _ => return None,
        }
    }
    Some(carry)
}

/// A path below the worktree.
fn path(value: &Value) -> Option<String> {
    let path = value.as_str()?;
    let normal = permission::normalize(path);
    let is_below = !path.starts_with('/') && !normal.is_empty() && !normal.starts_with("..");
    (is_below && !path.contains('\0')).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::{Carry, read};
    use serde_json::json;

    #[test]
    fn only_paths_of_the_project_and_sizes_that_can_be_are_taken() {
        let carry = |paths: &[&str], megabytes: u64| {
            Some(Carry {
                paths: paths.iter().map(|path| path.to_string()).collect(),
                max_bytes: megabytes * 1_000_000,
            })
        };
        for (value, expected) in [
            (json!({}), carry(&[], 1000)),
            (json!({ "maxMegabytes": 5 }), carry(&[], 5)),
            (
                json!({ "paths": ["./src/", "a/../b"] }),
                carry(&["src", "b"], 1000),
            ),
            (json!({ "paths": ["/src"] }), None),
            (json!({ "paths": ["../src"] }), None),
            (json!({ "paths": [""] }), None),
            (json!({ "paths": ["."] }), None),
            (json!({ "paths": "src" }), None),
            (json!({ "maxMegabytes": 0 }), None),
            (json!({ "maxMegabytes": 1.5 }), None),
            (json!({ "maxMegabytes": "5" }), None),
            (json!({ "size": 5 }), None),
            (json!([]), None),
        ] {
            assert_eq!(read(&value), expected, "{value}");
        }
    }
}
