//! Routes of Daytona that are not here, by the names that its clients know: they answer 501, so that
//! nobody takes them for a mistake in a path. What gets a handler leaves this table.

use crate::problem::Problem;
use crate::route::{Name, fits, template};
use axum::http::StatusCode;

/// Methods and path of the routes of one side.
pub(crate) type Table = &'static [(&'static str, &'static str)];

/// What to answer a request of a route in `table`, unless one of `served` fits it as well.
pub(crate) fn refusal(served: &[Name], table: Table, method: &str, path: &str) -> Option<Problem> {
    let holes = |template: &str| template.matches('{').count();
    let (_, known) = table
        .iter()
        .filter(|(methods, known)| methods.split(' ').any(|m| m == method) && fits(known, path))
        .min_by_key(|(_, known)| holes(known))?;
    if template(served, method, path).is_some_and(|other| holes(other) <= holes(known)) {
        return None;
    }
    Some(Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("{method} {known} is not implemented by daytona-local"),
    ))
}

pub(crate) const API: Table = &[
    ("GET", "/admin/audit"),
    ("POST", "/admin/docker-registry/{id}/set-default"),
    ("POST", "/admin/organizations"),
    (
        "POST",
        "/admin/organizations/{organizationId}/preview-warning",
    ),
    (
        "PATCH POST",
        "/admin/organizations/{organizationId}/quota/{regionId}",
    ),
    (
        "DELETE GET",
        "/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}",
    ),
    ("GET POST", "/admin/runners"),
    ("DELETE GET", "/admin/runners/{id}"),
    ("PATCH", "/admin/runners/{id}/scheduling"),
    ("POST", "/admin/sandbox/{sandboxId}/recover"),
    ("GET", "/admin/snapshots/can-cleanup-image"),
    ("PATCH", "/admin/snapshots/{id}/general"),
    ("GET POST", "/admin/users"),
    ("GET", "/admin/users/{id}"),
    ("POST", "/admin/users/{id}/regenerate-key-pair"),
    (
        "POST",
        "/admin/webhooks/organizations/{organizationId}/initialize",
    ),
    (
        "GET",
        "/admin/webhooks/organizations/{organizationId}/messages/{messageId}/attempts",
    ),
    (
        "POST",
        "/admin/webhooks/organizations/{organizationId}/send",
    ),
    ("GET", "/admin/webhooks/status"),
    ("GET POST", "/api-keys"),
    ("GET", "/api-keys/current"),
    ("DELETE GET", "/api-keys/{name}"),
    ("DELETE", "/api-keys/{userId}/{name}"),
    ("GET", "/audit/organizations/{organizationId}"),
    ("GET", "/audit/scenarios"),
    ("GET POST", "/docker-registry"),
    ("GET", "/docker-registry/registry-push-access"),
    ("DELETE GET PATCH", "/docker-registry/{id}"),
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/jobs"),
    ("GET", "/jobs/poll"),
    ("GET", "/jobs/{jobId}"),
    ("POST", "/jobs/{jobId}/status"),
    ("GET", "/object-storage/push-access"),
    ("GET POST", "/organizations"),
    ("GET", "/organizations/invitations"),
    ("GET", "/organizations/invitations/count"),
    ("POST", "/organizations/invitations/{invitationId}/accept"),
    ("POST", "/organizations/invitations/{invitationId}/decline"),
    (
        "GET",
        "/organizations/otel-config/by-sandbox-auth-token/{authToken}",
    ),
    ("DELETE GET", "/organizations/{organizationId}"),
    (
        "GET",
        "/organizations/{organizationId}/available-sandbox-classes",
    ),
    ("PATCH", "/organizations/{organizationId}/default-region"),
    ("PUT", "/organizations/{organizationId}/experimental-config"),
    (
        "GET POST",
        "/organizations/{organizationId}/identity-providers",
    ),
    (
        "POST",
        "/organizations/{organizationId}/identity-providers/test-connection",
    ),
    (
        "DELETE GET PATCH",
        "/organizations/{organizationId}/identity-providers/{id}",
    ),
    ("GET POST", "/organizations/{organizationId}/invitations"),
    (
        "PUT",
        "/organizations/{organizationId}/invitations/{invitationId}",
    ),
    (
        "POST",
        "/organizations/{organizationId}/invitations/{invitationId}/cancel",
    ),
    ("POST", "/organizations/{organizationId}/leave"),
    (
        "DELETE GET PUT",
        "/organizations/{organizationId}/otel-config",
    ),
    ("POST", "/organizations/{organizationId}/preview-warning"),
    ("PATCH", "/organizations/{organizationId}/quota"),
    ("PATCH", "/organizations/{organizationId}/quota/{regionId}"),
    ("GET POST", "/organizations/{organizationId}/roles"),
    (
        "DELETE PUT",
        "/organizations/{organizationId}/roles/{roleId}",
    ),
    (
        "POST",
        "/organizations/{organizationId}/sandbox-default-limited-network-egress",
    ),
    ("POST", "/organizations/{organizationId}/sso-enabled"),
    ("POST", "/organizations/{organizationId}/suspend"),
    ("POST", "/organizations/{organizationId}/unsuspend"),
    ("GET", "/organizations/{organizationId}/usage"),
    ("GET", "/organizations/{organizationId}/users"),
    ("DELETE", "/organizations/{organizationId}/users/{userId}"),
    (
        "POST",
        "/organizations/{organizationId}/users/{userId}/access",
    ),
    ("GET", "/preview/{sandboxId}/access"),
    ("GET", "/preview/{sandboxId}/preview-warning"),
    ("GET", "/preview/{sandboxId}/public"),
    ("GET", "/preview/{sandboxId}/signing-key"),
    ("GET", "/preview/{sandboxId}/validate/{authToken}"),
    ("GET", "/preview/{signedPreviewToken}/{port}/sandbox-id"),
    ("GET POST", "/regions"),
    ("DELETE GET PATCH", "/regions/{id}"),
    ("POST", "/regions/{id}/regenerate-proxy-api-key"),
    (
        "POST",
        "/regions/{id}/regenerate-snapshot-manager-credentials",
    ),
    ("POST", "/regions/{id}/regenerate-ssh-gateway-api-key"),
    ("GET POST", "/runners"),
    ("GET", "/runners/by-sandbox/{sandboxId}"),
    ("GET", "/runners/by-snapshot-ref"),
    ("POST", "/runners/healthcheck"),
    ("GET", "/runners/me"),
    ("GET", "/runners/me/snapshots"),
    ("DELETE GET", "/runners/{id}"),
    ("PATCH", "/runners/{id}/draining"),
    ("GET", "/runners/{id}/full"),
    ("PATCH", "/runners/{id}/scheduling"),
    ("GET", "/sandbox/for-runner"),
    ("GET", "/sandbox/paginated"),
    ("GET", "/sandbox/ssh-access/validate"),
    ("GET", "/sandbox/{sandboxIdOrName}/ancestors"),
    ("POST", "/sandbox/{sandboxIdOrName}/autopause/{interval}"),
    ("POST", "/sandbox/{sandboxIdOrName}/backup"),
    ("GET", "/sandbox/{sandboxIdOrName}/build-logs"),
    ("GET", "/sandbox/{sandboxIdOrName}/build-logs-url"),
    ("POST", "/sandbox/{sandboxIdOrName}/fork"),
    ("GET", "/sandbox/{sandboxIdOrName}/forks"),
    ("GET", "/sandbox/{sandboxIdOrName}/parent"),
    ("POST", "/sandbox/{sandboxIdOrName}/pause"),
    ("POST", "/sandbox/{sandboxIdOrName}/resize"),
    ("PUT", "/sandbox/{sandboxIdOrName}/secrets"),
    ("DELETE POST", "/sandbox/{sandboxIdOrName}/ssh-access"),
    ("POST", "/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}"),
    ("GET", "/sandbox/{sandboxId}/organization"),
    ("GET", "/sandbox/{sandboxId}/region-quota"),
    ("GET", "/sandbox/{sandboxId}/secrets"),
    ("PUT", "/sandbox/{sandboxId}/state"),
    ("GET", "/sandbox/{sandboxId}/telemetry/logs"),
    ("GET", "/sandbox/{sandboxId}/telemetry/metrics"),
    ("GET", "/sandbox/{sandboxId}/telemetry/traces"),
    ("GET", "/sandbox/{sandboxId}/telemetry/traces/{traceId}"),
    ("GET POST", "/secret"),
    ("GET", "/secret/paginated"),
    ("DELETE GET PATCH", "/secret/{secretId}"),
    ("GET", "/shared-regions"),
    ("POST", "/snapshots"),
    ("GET", "/snapshots/{id}/build-logs"),
    ("GET", "/snapshots/{id}/build-logs-url"),
    ("GET", "/users/account-providers"),
    ("POST", "/users/linked-accounts"),
    (
        "DELETE",
        "/users/linked-accounts/{provider}/{providerUserId}",
    ),
    ("GET", "/users/me"),
    ("GET", "/users/me/pending-sso-links"),
    ("DELETE", "/users/me/pending-sso-links/{id}"),
    ("POST", "/users/me/pending-sso-links/{id}/confirm"),
    ("POST", "/users/mfa/sms/enroll"),
    ("GET POST", "/volumes"),
    ("GET", "/volumes/by-name/{name}"),
    ("DELETE GET", "/volumes/{volumeId}"),
    ("GET POST", "/warm-pools"),
    ("DELETE PATCH", "/warm-pools/{id}"),
    (
        "POST",
        "/webhooks/organizations/{organizationId}/app-portal-access",
    ),
    (
        "GET",
        "/webhooks/organizations/{organizationId}/initialization-status",
    ),
    (
        "POST",
        "/webhooks/organizations/{organizationId}/initialize",
    ),
    (
        "POST",
        "/webhooks/organizations/{organizationId}/refresh-endpoints",
    ),
];

pub(crate) const TOOLBOX: Table = &[
    ("POST", "/computeruse/a11y/find"),
    ("POST", "/computeruse/a11y/node/focus"),
    ("POST", "/computeruse/a11y/node/invoke"),
    ("POST", "/computeruse/a11y/node/value"),
    ("GET", "/computeruse/a11y/tree"),
    ("GET", "/computeruse/display/info"),
    ("GET", "/computeruse/display/windows"),
    ("POST", "/computeruse/keyboard/hotkey"),
    ("POST", "/computeruse/keyboard/key"),
    ("POST", "/computeruse/keyboard/type"),
    ("POST", "/computeruse/mouse/click"),
    ("POST", "/computeruse/mouse/drag"),
    ("POST", "/computeruse/mouse/move"),
    ("GET", "/computeruse/mouse/position"),
    ("POST", "/computeruse/mouse/scroll"),
    ("GET", "/computeruse/process-status"),
    ("GET", "/computeruse/process/{processName}/errors"),
    ("GET", "/computeruse/process/{processName}/logs"),
    ("POST", "/computeruse/process/{processName}/restart"),
    ("GET", "/computeruse/process/{processName}/status"),
    ("GET", "/computeruse/recordings"),
    ("POST", "/computeruse/recordings/start"),
    ("POST", "/computeruse/recordings/stop"),
    ("DELETE GET", "/computeruse/recordings/{id}"),
    ("GET", "/computeruse/recordings/{id}/download"),
    ("GET", "/computeruse/screenshot"),
    ("GET", "/computeruse/screenshot/compressed"),
    ("GET", "/computeruse/screenshot/region"),
    ("GET", "/computeruse/screenshot/region/compressed"),
    ("POST", "/computeruse/start"),
    ("GET", "/computeruse/status"),
    ("POST", "/computeruse/stop"),
    ("POST", "/env"),
    ("POST", "/git/add"),
    ("DELETE GET POST", "/git/branches"),
    ("POST", "/git/checkout"),
    ("POST", "/git/clone"),
    ("POST", "/git/commit"),
    ("GET POST", "/git/config"),
    ("POST", "/git/config/user"),
    ("POST", "/git/credentials"),
    ("GET", "/git/history"),
    ("POST", "/git/init"),
    ("POST", "/git/pull"),
    ("POST", "/git/push"),
    ("GET POST", "/git/remotes"),
    ("POST", "/git/reset"),
    ("POST", "/git/restore"),
    ("GET", "/git/status"),
    ("POST", "/init"),
    ("POST", "/lsp/completions"),
    ("POST", "/lsp/did-close"),
    ("POST", "/lsp/did-open"),
    ("GET", "/lsp/document-symbols"),
    ("POST", "/lsp/start"),
    ("POST", "/lsp/stop"),
    ("GET", "/lsp/workspacesymbols"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_served_or_in_the_table_and_not_both() {
        let bare = |template: &str| {
            let parts = template.split('/');
            let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
            parts.collect::<Vec<_>>().join("/")
        };
        for (served, table) in [
            (crate::server::route_names(), API),
            (crate::toolbox::route_names(), TOOLBOX),
        ] {
            for (methods, path) in table {
                for method in methods.split(' ') {
                    let is_it =
                        |name: &Name| name.method == method && bare(name.template) == bare(path);
                    assert!(!served.iter().any(is_it), "{method} {path}");
                    assert!(
                        refusal(&served, table, method, path).is_some(),
                        "{method} {path}"
                    );
                }
            }
            for name in &served {
                let problem = refusal(&served, table, name.method, name.template);
                assert!(problem.is_none(), "{problem:?}");
            }
        }
    }
}
