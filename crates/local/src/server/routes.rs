//! Every route that is served, as a table: requests are counted by it, and
//! `tests/compat/types.test.mjs` compares it with the official clients.

/// Control plane routes, below `/api`.
pub(crate) const API: &[(&str, &str)] = &[
    ("GET", "/config"),
    ("GET", "/sandbox"),
    ("POST", "/sandbox"),
    ("GET", "/sandbox/{sandboxIdOrName}"),
    ("DELETE", "/sandbox/{sandboxIdOrName}"),
    ("POST", "/sandbox/{sandboxIdOrName}/start"),
    ("POST", "/sandbox/{sandboxIdOrName}/stop"),
    ("POST", "/sandbox/{sandboxIdOrName}/recover"),
    ("POST", "/sandbox/{sandboxIdOrName}/archive"),
    ("POST", "/sandbox/{sandboxIdOrName}/snapshot"),
    ("PUT", "/sandbox/{sandboxIdOrName}/labels"),
    ("POST", "/sandbox/{sandboxIdOrName}/public/{isPublic}"),
    ("POST", "/sandbox/{sandboxIdOrName}/autostop/{interval}"),
    ("POST", "/sandbox/{sandboxIdOrName}/autoarchive/{interval}"),
    ("POST", "/sandbox/{sandboxIdOrName}/autodelete/{interval}"),
    ("POST", "/sandbox/{sandboxId}/last-activity"),
    ("GET", "/sandbox/{sandboxId}/toolbox-proxy-url"),
    ("GET", "/sandbox/{sandboxIdOrName}/ports/{port}/preview-url"),
    (
        "GET",
        "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url",
    ),
    (
        "POST",
        "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire",
    ),
    ("GET", "/snapshots"),
    ("GET", "/snapshots/{id}"),
    ("DELETE", "/snapshots/{id}"),
    ("POST", "/snapshots/{id}/activate"),
    ("POST", "/snapshots/{id}/deactivate"),
];

/// Toolbox routes, below `/toolbox/{sandboxId}`.
pub(crate) const TOOLBOX: &[(&str, &str)] = &[
    ("GET", "/version"),
    ("GET", "/work-dir"),
    ("GET", "/user-home-dir"),
    ("POST", "/process/execute"),
    ("GET", "/process/session"),
    ("POST", "/process/session"),
    ("GET", "/process/session/entrypoint"),
    ("GET", "/process/session/entrypoint/logs"),
    ("GET", "/process/session/{sessionId}"),
    ("DELETE", "/process/session/{sessionId}"),
    ("POST", "/process/session/{sessionId}/exec"),
    ("GET", "/process/session/{sessionId}/command/{commandId}"),
    (
        "GET",
        "/process/session/{sessionId}/command/{commandId}/logs",
    ),
    (
        "POST",
        "/process/session/{sessionId}/command/{commandId}/input",
    ),
    ("GET", "/files"),
    ("DELETE", "/files"),
    ("GET", "/files/info"),
    ("GET", "/files/download"),
    ("POST", "/files/upload"),
    ("POST", "/files/upload-v2"),
    ("POST", "/files/bulk-upload"),
    ("POST", "/files/bulk-download"),
    ("POST", "/files/folder"),
    ("POST", "/files/move"),
    ("POST", "/files/permissions"),
    ("GET", "/files/find"),
    ("GET", "/files/search"),
    ("POST", "/files/replace"),
    ("GET", "/port"),
    ("GET", "/port/{port}/in-use"),
];

/// `METHOD /template` of a request, or its path with the id hidden where no route matches.
pub(crate) fn template(method: &str, path: &str) -> String {
    let (prefix, table, rest) = if let Some(rest) = path.strip_prefix("/api") {
        ("/api", API, rest.to_owned())
    } else if let Some(rest) = path.strip_prefix("/toolbox/") {
        let below = rest
            .split_once('/')
            .map_or(String::new(), |(_, below)| format!("/{below}"));
        ("/toolbox/{sandboxId}", TOOLBOX, below)
    } else {
        return format!("{method} {path}");
    };
    // A literal segment is better than a placeholder, and the tables list literals first.
    let hit = table
        .iter()
        .find(|(m, template)| *m == method && fits(template, &rest));
    let shown = hit.map_or(rest.as_str(), |(_, template)| template);
    format!("{method} {prefix}{shown}")
}

fn fits(template: &str, path: &str) -> bool {
    let (mut a, mut b) = (template.split('/'), path.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(t), Some(p)) if t == p || t.starts_with('{') && !p.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn a_request_is_counted_under_its_route() {
        for (method, path, want) in [
            (
                "GET",
                "/api/sandbox/abc",
                "GET /api/sandbox/{sandboxIdOrName}",
            ),
            (
                "POST",
                "/toolbox/x/process/execute",
                "POST /toolbox/{sandboxId}/process/execute",
            ),
            (
                "GET",
                "/toolbox/x/process/session/entrypoint",
                "GET /toolbox/{sandboxId}/process/session/entrypoint",
            ),
            (
                "GET",
                "/toolbox/x/process/session/s1",
                "GET /toolbox/{sandboxId}/process/session/{sessionId}",
            ),
            ("GET", "/toolbox/x/nope", "GET /toolbox/{sandboxId}/nope"),
        ] {
            assert_eq!(template(method, path), want);
        }
    }
}
