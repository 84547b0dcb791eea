//! The control plane below `/api`: thin handlers over the state machine.
//!
//! What is absent is answered 501 and listed in [`crate::unimplemented`].

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::list;
use super::network::policy::Policy;
use super::preview;
use super::sandbox::{Record, SignedPreview, clamp_archive};
use super::snapshots::{self, Stage};
use crate::ids;
use crate::installation::{API_VERSION, REGION};
use crate::problem::{Fields, Problem};
use crate::route::{self, Name, Route, get, post, put};

type Reply = Result<Json<Value>, Problem>;

pub(super) fn routes() -> Vec<Route<Arc<App>>> {
    vec![
        get("/config", config),
        get("/sandbox", list_sandboxes),
        post("/sandbox", create),
        get("/sandbox/{sandboxIdOrName}", read),
        route::delete("/sandbox/{sandboxIdOrName}", delete),
        post("/sandbox/{sandboxIdOrName}/start", start),
        post("/sandbox/{sandboxIdOrName}/stop", stop),
        post("/sandbox/{sandboxIdOrName}/recover", recover),
        post("/sandbox/{sandboxIdOrName}/archive", archive),
        post("/sandbox/{sandboxIdOrName}/snapshot", snapshot),
        put("/sandbox/{sandboxIdOrName}/labels", labels),
        post("/sandbox/{sandboxIdOrName}/public/{isPublic}", public),
        post("/sandbox/{sandboxIdOrName}/autostop/{interval}", auto_stop),
        post(
            "/sandbox/{sandboxIdOrName}/autoarchive/{interval}",
            auto_archive,
        ),
        post(
            "/sandbox/{sandboxIdOrName}/autodelete/{interval}",
            auto_delete,
        ),
        post(
            "/sandbox/{sandboxIdOrName}/network-settings",
            network_settings,
        ),
        post("/sandbox/{sandboxId}/last-activity", last_activity),
        get("/sandbox/{sandboxId}/toolbox-proxy-url", toolbox_url),
        get("/sandbox/{sandboxId}/signing-key", signing_key),
        post(
            "/sandbox/{sandboxId}/signing-key/rotate",
            rotate_signing_key,
        ),
        get(
            "/sandbox/{sandboxIdOrName}/ports/{port}/preview-url",
            preview_url,
        ),
        get(
            "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url",
            signed_preview_url,
        ),
        post(
            "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire",
            expire_preview,
        ),
        get("/snapshots", list_snapshots),
        get("/snapshots/{id}", read_snapshot),
        route::delete("/snapshots/{id}", delete_snapshot),
        post("/snapshots/{id}/activate", activate_snapshot),
        post("/snapshots/{id}/deactivate", deactivate_snapshot),
    ]
}

/// The names of all routes.
pub(crate) fn route_names() -> Vec<Name> {
    route::names(routes())
}

/// What a path is answered that no route has.
pub(super) async fn unknown(request: axum::extract::Request) -> Problem {
    Problem::not_found(format!(
        "Cannot {} {}",
        request.method(),
        request.uri().path()
    ))
}

async fn config(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "version": API_VERSION,
        "oidc": { "issuer": "", "clientId": "", "audience": "" },
        "linkedAccountsEnabled": false,
        "announcements": {},
        "proxyTemplateUrl": format!("http://{{{{PORT}}}}-{{{{sandboxId}}}}.localhost:{}", app.port),
        "proxyToolboxUrl": app.toolbox_url(),
        "defaultSnapshot": snapshots::DEFAULT,
        "dashboardUrl": format!("http://127.0.0.1:{}", app.port),
        "maxAutoArchiveInterval": clamp_archive(0),
        "maintananceMode": false,
        "environment": REGION,
    }))
}

fn parse(body: &Bytes) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(error.to_string()))
}

async fn create(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let body = parse(&body)?;
    // In a task of its own: a client that gives up still leaves a whole sandbox.
    let sandboxes = app.sandboxes.clone();
    let created = tokio::spawn(async move { sandboxes.create(&body).await }).await;
    Ok(app.dto(&created.map_err(Problem::internal)??))
}

async fn list_sandboxes(
    State(app): State<Arc<App>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Reply {
    let records = app.sandboxes.all().iter().map(|s| s.record()).collect();
    let page = list::page(records, &query)?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|r| r.item(&app.toolbox_url()))
        .collect();
    Ok(Json(
        json!({ "items": items, "nextCursor": page.next_cursor }),
    ))
}

async fn read(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    Ok(app.dto(&app.sandboxes.find(&which)?.record()))
}

async fn delete(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    let sandbox = app.sandboxes.find(&which)?;
    Ok(app.dto(&app.sandboxes.delete(&sandbox)?))
}

async fn start(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    let sandbox = app.sandboxes.find(&which)?;
    Ok(app.dto(&app.sandboxes.start(&sandbox).await?))
}

async fn recover(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    let sandbox = app.sandboxes.find(&which)?;
    Ok(app.dto(&app.sandboxes.recover(&sandbox).await?))
}

#[derive(Deserialize)]
struct Stop {
    #[serde(default)]
    force: bool,
}

async fn stop(
    State(app): State<Arc<App>>,
    Path(which): Path<String>,
    Query(stop): Query<Stop>,
) -> Reply {
    let sandbox = app.sandboxes.find(&which)?;
    app.sandboxes.stop(&sandbox, stop.force)?;
    Ok(app.dto(&sandbox.record()))
}

async fn archive(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    let sandbox = app.sandboxes.find(&which)?;
    app.sandboxes.archive(&sandbox)?;
    Ok(app.dto(&sandbox.record()))
}

async fn snapshot(State(app): State<Arc<App>>, Path(which): Path<String>, body: Bytes) -> Reply {
    let body = parse(&body)?;
    let mut fields = Fields::of(&body)?;
    let name = fields.get("name", "a string").unwrap_or(String::new());
    if name.is_empty() {
        fields.complain("name should not be empty".to_owned());
    }
    fields.finish()?;
    let sandbox = app.sandboxes.find(&which)?;
    Ok(app.dto(&app.sandboxes.snapshot(&sandbox, &name)?))
}

async fn list_snapshots(
    State(app): State<Arc<App>>,
    Query(query): Query<snapshots::Listing>,
) -> Reply {
    snapshots::page(app.sandboxes.snapshots(), &query).map(Json)
}

async fn read_snapshot(State(app): State<Arc<App>>, Path(which): Path<String>) -> Reply {
    let all = app.sandboxes.snapshots();
    let found = all.iter().find(|s| s.id == which || s.name == which);
    let missing = || Problem::not_found(format!("Snapshot with ID or name {which} not found"));
    Ok(Json(found.ok_or_else(missing)?.dto()))
}

async fn delete_snapshot(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.sandboxes.delete_snapshot(&id)?;
    Ok(StatusCode::OK)
}

async fn activate_snapshot(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let made = app.sandboxes.turn(&id, Stage::Inactive, Stage::Active)?;
    Ok(Json(made.dto()))
}

async fn deactivate_snapshot(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.sandboxes.turn(&id, Stage::Active, Stage::Inactive)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn labels(State(app): State<Arc<App>>, Path(which): Path<String>, body: Bytes) -> Reply {
    let body = parse(&body)?;
    let mut fields = Fields::of(&body)?;
    let labels = fields.get("labels", "an object of strings");
    if labels.is_none() {
        fields.complain("labels must be an object of strings".to_owned());
    }
    fields.finish()?;
    let Json(changed) = app.change(&which, |record| record.labels = labels.unwrap_or_default())?;
    Ok(Json(json!({ "labels": changed["labels"] })))
}

async fn public(State(app): State<Arc<App>>, Path((which, value)): Path<(String, bool)>) -> Reply {
    app.change(&which, |record| record.public = value)
}

async fn auto_stop(
    State(app): State<Arc<App>>,
    Path((which, minutes)): Path<(String, i64)>,
) -> Reply {
    if minutes < 0 {
        return Err(Problem::bad_request(
            "Auto-stop interval must be non-negative",
        ));
    }
    app.change(&which, |record| record.auto_stop = minutes)
}

async fn auto_archive(
    State(app): State<Arc<App>>,
    Path((which, minutes)): Path<(String, i64)>,
) -> Reply {
    if minutes < 0 {
        return Err(Problem::bad_request(
            "Auto-archive interval must be non-negative",
        ));
    }
    app.change(&which, |record| {
        record.auto_archive = clamp_archive(minutes)
    })
}

async fn auto_delete(
    State(app): State<Arc<App>>,
    Path((which, minutes)): Path<(String, i64)>,
) -> Reply {
    app.change(&which, |record| record.auto_delete = minutes)
}

async fn network_settings(
    State(app): State<Arc<App>>,
    Path(which): Path<String>,
    body: Bytes,
) -> Reply {
    let body = parse(&body)?;
    let sandbox = app.sandboxes.find(&which)?;
    let change = |policy: &mut Policy| {
        let mut fields = Fields::of(&body)?;
        if policy.change(&mut fields) == 0 {
            fields.complain(
                "one of networkBlockAll, networkAllowList, domainAllowList must be given"
                    .to_owned(),
            );
        }
        fields.finish()
    };
    Ok(app.dto(&app.sandboxes.set_network(&sandbox, change).await?))
}

async fn last_activity(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.sandboxes.touch(&*app.by_id(&id)?);
    Ok(StatusCode::CREATED)
}

async fn toolbox_url(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    app.by_id(&id)?;
    Ok(Json(json!({ "url": app.toolbox_url() })))
}

async fn signing_key(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let sandbox = app.by_id(&id)?;
    let mut key = sandbox.record().signing_key;
    if key.is_empty() {
        key = app.sandboxes.update(&sandbox, |record| {
            // Another request may have made one by now.
            if record.signing_key.is_empty() {
                record.signing_key = ids::token();
            }
            Ok(record.signing_key.clone())
        })?;
    }
    Ok(Json(json!(key)))
}

async fn rotate_signing_key(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let sandbox = app.by_id(&id)?;
    let key = app.sandboxes.update(&sandbox, |record| {
        record.signing_key = ids::token();
        Ok(record.signing_key.clone())
    })?;
    Ok(Json(json!(key)))
}

async fn preview_url(
    State(app): State<Arc<App>>,
    Path((which, port)): Path<(String, u16)>,
) -> Reply {
    let record = app.sandboxes.find(&which)?.record();
    let url = preview::link(&app, &record, port, None).await?;
    let (id, token) = (&record.id, &record.preview_token);
    Ok(Json(json!({ "sandboxId": id, "url": url, "token": token })))
}

#[derive(Deserialize)]
struct Expiry {
    #[serde(rename = "expiresInSeconds")]
    seconds: Option<i64>,
}

async fn signed_preview_url(
    State(app): State<Arc<App>>,
    Path((which, port)): Path<(String, u16)>,
    Query(expiry): Query<Expiry>,
) -> Reply {
    let seconds = expiry.seconds.unwrap_or(60);
    if !(1..=86_400).contains(&seconds) {
        return Err(Problem::bad_request(
            "expiresInSeconds must be between 1 and 86400",
        ));
    }
    let sandbox = app.sandboxes.find(&which)?;
    let (token, now) = (ids::token(), app.sandboxes.now());
    app.sandboxes.update(&sandbox, |record| {
        record
            .signed_previews
            .retain(|signed| signed.expires_at > now);
        let expires_at = now + seconds * 1000;
        record.signed_previews.push(SignedPreview {
            token: token.clone(),
            port,
            expires_at,
        });
        Ok(())
    })?;
    let record = sandbox.record();
    let url = preview::link(&app, &record, port, Some(&token)).await?;
    Ok(Json(
        json!({ "sandboxId": record.id, "port": port, "token": token, "url": url }),
    ))
}

async fn expire_preview(
    State(app): State<Arc<App>>,
    Path((which, port, token)): Path<(String, u16, String)>,
) -> Result<StatusCode, Problem> {
    let sandbox = app.sandboxes.find(&which)?;
    app.sandboxes.update(&sandbox, |record| {
        record
            .signed_previews
            .retain(|signed| signed.port != port || signed.token != token);
        Ok(())
    })?;
    Ok(StatusCode::OK)
}

impl App {
    fn dto(&self, record: &Record) -> Json<Value> {
        Json(record.dto(&self.toolbox_url()))
    }

    fn change(&self, which: &str, change: impl FnOnce(&mut Record)) -> Reply {
        let sandbox = self.sandboxes.find(which)?;
        self.sandboxes.update(&sandbox, |record| {
            change(record);
            Ok(())
        })?;
        Ok(self.dto(&sandbox.record()))
    }

    fn by_id(&self, id: &str) -> Result<Arc<super::lifecycle::Sandbox>, Problem> {
        let sandbox = self.sandboxes.by_id(id);
        sandbox.ok_or_else(|| Problem::not_found(format!("Sandbox with ID {id} not found")))
    }
}

/// A path or query that does not parse is the caller's fault and answered by axum in plain text;
/// this gives it the API's shape.
pub(super) fn shaped(reply: Response, path: &str) -> Response {
    if let Some(problem) = reply.extensions().get::<Problem>() {
        return problem.api(path);
    }
    let status = reply.status();
    let is_json = reply
        .headers()
        .get("content-type")
        .is_some_and(|t| t == "application/json");
    if status.is_client_error() && !is_json {
        let reason = status.canonical_reason().unwrap_or("Error");
        return Problem::new(status, reason).api(path);
    }
    reply.into_response()
}
