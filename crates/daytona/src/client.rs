//! The client: one method per request, and the policy of repeating and waiting.

use crate::error::{Error, Result};
use crate::proxied;
use crate::status::{check, check_toolbox, message};
use crate::toolbox::{BULK_UPLOAD, DOWNLOAD, EXECUTE, Toolbox};
use crate::types::*;
use host::{Body, Host, HttpRequest, HttpResponse, Level, Part, PartContent};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How long one request of the control plane may take. The service itself holds a create or a
/// start up to 30 s.
const API_TIMEOUT_MS: u64 = 60_000;
/// How long an upload or a download may take.
const TRANSFER_TIMEOUT_MS: u64 = 600_000;
/// Largest answer of the control plane.
const MAX_API_BYTES: usize = 8 * 1024 * 1024;
/// How often a transient failure of a repeatable request is tried again.
const RETRIES: u32 = 4;
/// Longest pause that is sat out for a rate limit.
const MAX_PAUSE_MS: u64 = 30_000;
/// Between two looks at a sandbox that is on its way.
pub(crate) const POLL_MS: u64 = 1_000;
/// A sandbox that is on its way is sent a start after so many looks.
const LOOKS_PER_START: u32 = 15;
/// How often a start is sent again that was rejected although the sandbox is stopped: there may be
/// no room for it at the moment.
const REJECTED_STARTS: u32 = 4;
/// How often a sandbox that is in an error is recovered while it is brought up.
const RECOVERIES: u32 = 2;

/// Where the service is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base URL, such as `https://app.daytona.io/api`.
    pub api_url: String,
    /// API key.
    pub api_key: String,
    /// Only needed when the key is a JWT.
    pub organization: Option<String>,
}

impl std::fmt::Debug for Settings {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}

/// The client.
#[derive(Clone)]
pub struct Client {
    pub(crate) host: Arc<dyn Host>,
    settings: Arc<Settings>,
}

impl Client {
    /// A client of `settings` that talks through `host`.
    pub fn new(host: Arc<dyn Host>, settings: Settings) -> Self {
        Client {
            host,
            settings: Arc::new(settings),
        }
    }

    /// Makes a sandbox. Not repeated here: whether a lost answer left a sandbox behind is for the
    /// caller to find out by name.
    pub async fn create(&self, sandbox: &CreateSandbox) -> Result<Sandbox> {
        let body = Body::Json(json(sandbox));
        let response = self.ask("POST", self.api("/sandbox"), body).await?;
        parse(
            "a create",
            self.checked("the sandbox to create", &self.api("/sandbox"), response)?,
        )
    }

    /// Base URL of the API.
    pub fn api_url(&self) -> &str {
        &self.settings.api_url
    }

    /// True if the API answers, whatever it says. Asked once.
    pub async fn answers(&self) -> bool {
        let url = self.api("/sandbox?limit=1");
        let asked = self.ask("GET", url, Body::Empty);
        !matches!(asked.await, Err(Error::Network(_)))
    }

    /// One sandbox, by id or name.
    pub async fn get(&self, id: &str) -> Result<Sandbox> {
        let response = self
            .repeat(
                "GET",
                &format!("/sandbox/{}", segment(id)),
                &format!("sandbox {id}"),
            )
            .await?;
        parse("a get", response)
    }

    /// All sandboxes that carry all of `labels`.
    pub async fn list(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Sandbox>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        // Bounded, because a server that never ends its cursor would keep us for ever.
        for _ in 0..100 {
            let mut path = format!(
                "/sandbox?limit=200&sort=createdAt&labels={}",
                segment(&json(labels))
            );
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&cursor={}", segment(cursor)));
            }
            let page: Page = parse(
                "a list",
                self.repeat("GET", &path, "the list of sandboxes").await?,
            )?;
            all.extend(page.items);
            match page.next_cursor.filter(|c| !c.is_empty()) {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        // The filter is repeated here: deleting must never rest on a server's filter alone.
        all.retain(|s| labels.iter().all(|(k, v)| s.labels.get(k) == Some(v)));
        Ok(all)
    }

    /// Looks where a sandbox stands, starts it if it is stopped, recovers it if it is in an error that
    /// allows that, and waits until it runs. The second value is true if it was started here.
    ///
    /// Of a start that is refused the state decides: somebody else may have started it, or it is
    /// still on its way down. `waits` is told at each look what it is waited for.
    pub async fn bring_up(
        &self,
        id: &str,
        seconds: u64,
        waits: impl Fn(Way),
    ) -> Result<(Sandbox, bool)> {
        let deadline = self.host.now_ms() + seconds * 1000;
        let (mut started, mut looks, mut rejected, mut refusal) = (false, 0, 0, None);
        let mut recoveries = 0;
        loop {
            let sandbox = self.get(id).await?;
            looks += 1;
            let start = match sandbox.state {
                SandboxState::Started => return Ok((sandbox.fit()?, started)),
                SandboxState::Error
                    if sandbox.recoverable == Some(true) && recoveries < RECOVERIES =>
                {
                    recoveries += 1;
                    match self.recover(id).await {
                        Ok(_) => started = true,
                        Err(error) if error.is_transient() => return Err(error),
                        // What state it has says more.
                        Err(error) => {
                            let message = format!("sandbox {id} was not recovered: {error}");
                            self.host.log(Level::Warn, &message);
                        }
                    }
                    false
                }
                SandboxState::Error | SandboxState::BuildFailed => return Err(failed(&sandbox)),
                SandboxState::Destroyed | SandboxState::Destroying => return Err(going(id)),
                SandboxState::Stopped | SandboxState::Archived | SandboxState::Paused => true,
                // Some ways end only with a start: a sandbox that is being archived, for example.
                SandboxState::Changing(_) => looks % LOOKS_PER_START == 0,
            };
            waits(match sandbox.state {
                SandboxState::Changing(way) => way,
                SandboxState::Archived => Way::Restoring,
                SandboxState::Error => Way::Recovering,
                _ => Way::Starting,
            });
            if self.host.now_ms() >= deadline {
                return Err(refusal.unwrap_or_else(|| too_slow(id, seconds)));
            }
            if start {
                match self.start(id).await {
                    Ok(sandbox) if sandbox.state == SandboxState::Started => {
                        return Ok((sandbox.fit()?, true));
                    }
                    Ok(_) => started = true,
                    Err(error @ Error::Conflict { .. }) => refusal = Some(error),
                    Err(error @ Error::Rejected { .. }) if rejected < REJECTED_STARTS => {
                        rejected += 1;
                        refusal = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.host.sleep(POLL_MS).await;
        }
    }

    /// Asks for a sandbox's start. It may still be on its way then: see [`Client::bring_up`].
    pub async fn start(&self, id: &str) -> Result<Sandbox> {
        let path = format!("/sandbox/{}/start", segment(id));
        let response = self.repeat("POST", &path, &format!("sandbox {id}")).await?;
        parse("a start", response)
    }

    /// Asks for the recovery of a sandbox that is in an error, which ends with its start.
    async fn recover(&self, id: &str) -> Result<Sandbox> {
        let path = format!("/sandbox/{}/recover", segment(id));
        let response = self.repeat("POST", &path, &format!("sandbox {id}")).await?;
        parse("a recovery", response)
    }

    /// Deletes a sandbox; false if there was none.
    pub async fn delete(&self, id: &str) -> Result<bool> {
        match self
            .repeat(
                "DELETE",
                &format!("/sandbox/{}", segment(id)),
                &format!("sandbox {id}"),
            )
            .await
        {
            // Anybody between us and the service can answer 200 with a page.
            Ok(response) => parse::<Sandbox>("a delete", response).map(|_| true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until a sandbox runs. Polls once a second, like the official SDK. `waits` is told at each
    /// look what it is waited for.
    pub async fn wait_started(
        &self,
        id: &str,
        seconds: u64,
        waits: impl Fn(Way),
    ) -> Result<Sandbox> {
        let deadline = self.host.now_ms() + seconds * 1000;
        loop {
            let sandbox = self.get(id).await?;
            match sandbox.state {
                SandboxState::Started => return sandbox.fit(),
                SandboxState::Error | SandboxState::BuildFailed => return Err(failed(&sandbox)),
                SandboxState::Destroyed | SandboxState::Destroying => return Err(going(id)),
                SandboxState::Stopped | SandboxState::Archived | SandboxState::Paused => {
                    waits(Way::Unknown)
                }
                SandboxState::Changing(way) => waits(way),
            }
            if self.host.now_ms() >= deadline {
                return Err(too_slow(id, seconds));
            }
            self.host.sleep(POLL_MS).await;
        }
    }

    /// Runs a script in a sandbox, once. `max_bytes` bounds the answer.
    pub async fn execute(
        &self,
        toolbox: &Toolbox,
        execute: &Execute,
        max_bytes: usize,
    ) -> Result<ExecuteResult> {
        let url = toolbox.url(EXECUTE);
        let timeout_ms = execute.timeout * 1000 + 15_000;
        let response = self
            .once(
                "POST",
                url.clone(),
                Body::Json(json(execute)),
                timeout_ms,
                max_bytes,
            )
            .await?;
        parse(
            "an execute",
            check_toolbox(toolbox, EXECUTE, response, self.host.now_ms())?,
        )
    }

    /// Uploads files in one request. Not atomic: use temporary names and a rename.
    pub async fn upload(&self, toolbox: &Toolbox, files: &[Upload]) -> Result<()> {
        let url = toolbox.url(BULK_UPLOAD);
        let mut parts = Vec::new();
        for (index, file) in files.iter().enumerate() {
            // The path must come before the content of the same index.
            let path = Part {
                name: format!("files[{index}].path"),
                content: PartContent::Text(file.path.clone()),
            };
            let content = match &file.source {
                UploadSource::File(path) => PartContent::File(path.clone()),
                UploadSource::Slice {
                    path,
                    offset,
                    length,
                } => PartContent::Slice {
                    path: path.clone(),
                    offset: *offset,
                    length: *length,
                },
                UploadSource::Bytes(bytes) => PartContent::Bytes(bytes.clone()),
            };
            parts.extend([
                path,
                Part {
                    name: format!("files[{index}].file"),
                    content,
                },
            ]);
        }
        let response = self
            .once(
                "POST",
                url.clone(),
                Body::Multipart(parts),
                TRANSFER_TIMEOUT_MS,
                MAX_API_BYTES,
            )
            .await?;
        check_toolbox(toolbox, BULK_UPLOAD, response, self.host.now_ms()).map(drop)
    }

    /// Downloads `part` of a file of the sandbox to its place in the file `save_to` of the host, once;
    /// it may be there in part after an error. The part from byte 0 on makes the file. A service that
    /// knows no parts sends the whole file; more than `max_bytes` are refused.
    pub async fn download(
        &self,
        toolbox: &Toolbox,
        path: &str,
        save_to: &str,
        part: Range<u64>,
        max_bytes: u64,
    ) -> Result<()> {
        let query = format!("{DOWNLOAD}?path={}", segment(path));
        let request = HttpRequest {
            method: "GET",
            url: toolbox.url(&query),
            headers: vec![(
                "range".into(),
                format!("bytes={}-{}", part.start, part.end.saturating_sub(1)),
            )],
            body: Body::Empty,
            timeout_ms: TRANSFER_TIMEOUT_MS,
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            save_to: Some((save_to.into(), part.start)),
        };
        check_toolbox(
            toolbox,
            DOWNLOAD,
            self.send(request).await?,
            self.host.now_ms(),
        )
        .map(drop)
    }

    /// Where a port of the sandbox is reached, with a token that goes in a header and changes with each start. Not for
    /// a port of Daytona's own servers.
    pub async fn preview_url(&self, id: &str, port: u16) -> Result<Preview> {
        if is_reserved_port(port) {
            return Err(Error::ReservedPort(port));
        }
        let path = format!("/sandbox/{}/ports/{port}/preview-url", segment(id));
        let response = self.repeat("GET", &path, &format!("sandbox {id}")).await?;
        let preview: Preview = parse("a preview", response)?;
        match is_web_address(&preview.url) {
            true => Ok(preview),
            false => Err(Error::Malformed {
                what: "a preview".into(),
                reason: format!("{:?} is not an http or https URL", preview.url),
            }),
        }
    }

    /// An address under which anybody reaches a port of the sandbox for `seconds`. Not for a port of
    /// Daytona's own servers.
    pub async fn signed_preview_url(
        &self,
        id: &str,
        port: u16,
        seconds: u64,
    ) -> Result<SignedPreview> {
        if is_reserved_port(port) {
            return Err(Error::ReservedPort(port));
        }
        let id = segment(id);
        let path =
            format!("/sandbox/{id}/ports/{port}/signed-preview-url?expiresInSeconds={seconds}");
        let response = self.repeat("GET", &path, &format!("sandbox {id}")).await?;
        let preview: SignedPreview = parse("a signed preview", response)?;
        match is_web_address(&preview.url) {
            true => Ok(preview),
            false => Err(Error::Malformed {
                what: "a signed preview".into(),
                reason: format!("{:?} is not an http or https URL", preview.url),
            }),
        }
    }

    /// Sends a request of the control plane that may be repeated, while it fails in a way that
    /// passes.
    pub(crate) async fn repeat(
        &self,
        method: &'static str,
        path: &str,
        what: &str,
    ) -> Result<HttpResponse> {
        let url = self.api(path);
        let mut attempt = 0;
        loop {
            let (timeout_ms, max_bytes) = (API_TIMEOUT_MS, MAX_API_BYTES);
            let sent = self.once(method, url.clone(), Body::Empty, timeout_ms, max_bytes);
            let checked = match sent.await {
                Ok(response) => self.checked(what, &url, response),
                Err(error) => Err(error),
            };
            match checked {
                // Nothing is given up on the word of a server that may be another one.
                Err(error @ Error::NotFound { .. }) if !self.has_usual_url() => {
                    let url = self.api("/sandbox?limit=1");
                    let list = self.once("GET", url.clone(), Body::Empty, timeout_ms, max_bytes);
                    self.checked("the list of sandboxes", &url, list.await?)?;
                    return Err(error);
                }
                Err(error) if error.is_transient() && attempt < RETRIES => {
                    self.host.log(
                        Level::Warn,
                        &format!("{method} {path}: {error}; trying again"),
                    );
                    self.pause(&error, attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// False for a base URL that may be another server's.
    fn has_usual_url(&self) -> bool {
        let url = self.settings.api_url.trim_end_matches('/');
        url.ends_with("/api")
    }

    pub(crate) fn checked(
        &self,
        what: &str,
        url: &str,
        response: HttpResponse,
    ) -> Result<HttpResponse> {
        match self.not_the_api(url, &response) {
            Some(error) => Err(error),
            None => check(what, url, response, self.host.now_ms()),
        }
    }

    /// Why an answer is none of the API's, where the base URL is not of the usual form: then a page, or
    /// a route that is not known, says that it is wrong, and nothing about a sandbox.
    fn not_the_api(&self, asked: &str, response: &HttpResponse) -> Option<Error> {
        let url = self.settings.api_url.trim_end_matches('/');
        if self.has_usual_url() {
            return None;
        }
        let body: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
        // Of a list nothing can be missing.
        let path = asked.strip_prefix(url).unwrap_or(asked);
        let is_list = path.split('?').next() == Some("/sandbox");
        let knows_no_route = matches!(response.status, 404 | 405)
            && (is_list || message(response).starts_with("Cannot "));
        let answer = match body {
            _ if knows_no_route => "knows no such route",
            None if !response.body.is_empty() => "sends a page",
            None if matches!(response.status, 404 | 405) => "knows no such route",
            _ => return None,
        };
        Some(Error::NotTheApi {
            url: url.into(),
            status: response.status,
            answer,
        })
    }

    /// Sleeps before attempt `attempt + 1`: exponential with jitter, or what the server asked for.
    pub async fn pause(&self, error: &Error, attempt: u32) {
        let backoff = (250u64 << attempt.min(6)) + self.host.random() % 100;
        let ms = match error {
            Error::RateLimited { retry_after_ms }
            | Error::Toolbox {
                retry_after_ms: Some(retry_after_ms),
                ..
            } => (*retry_after_ms).max(backoff),
            _ => backoff,
        };
        self.host.sleep(ms.min(MAX_PAUSE_MS)).await;
    }

    /// Sends a request of the control plane, once.
    pub(crate) async fn ask(
        &self,
        method: &'static str,
        url: String,
        body: Body,
    ) -> Result<HttpResponse> {
        self.once(method, url, body, API_TIMEOUT_MS, MAX_API_BYTES)
            .await
    }

    async fn once(
        &self,
        method: &'static str,
        url: String,
        body: Body,
        timeout_ms: u64,
        max_bytes: usize,
    ) -> Result<HttpResponse> {
        self.send(HttpRequest {
            method,
            url,
            headers: Vec::new(),
            body,
            timeout_ms,
            max_bytes,
            save_to: None,
        })
        .await
    }

    /// Sends a request with the headers that all of ours have.
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse> {
        let headers = &mut request.headers;
        headers.extend([
            (
                "authorization".to_string(),
                format!("Bearer {}", self.settings.api_key),
            ),
            (
                "user-agent".to_string(),
                concat!("opencode-daytona-sandbox/", env!("CARGO_PKG_VERSION")).to_string(),
            ),
            (
                "x-daytona-source".to_string(),
                "opencode-daytona-sandbox".to_string(),
            ),
        ]);
        if let Some(organization) = &self.settings.organization {
            headers.push((
                "x-daytona-organization-id".to_string(),
                organization.clone(),
            ));
        }
        let url = request.url.clone();
        let response = self.host.http(request).await?;
        match proxied::by_proxy(&*self.host, &url, &response).await {
            Some(error) => Err(error),
            None => Ok(response),
        }
    }

    pub(crate) fn api(&self, path: &str) -> String {
        format!("{}{path}", self.settings.api_url.trim_end_matches('/'))
    }
}

pub(crate) fn going(id: &str) -> Error {
    Error::NotFound {
        what: format!("sandbox {id}"),
        message: "it is being deleted".into(),
    }
}

fn too_slow(id: &str, seconds: u64) -> Error {
    Error::TooSlow {
        id: id.into(),
        wanted: "started",
        seconds,
    }
}

pub(crate) fn failed(sandbox: &Sandbox) -> Error {
    let reason = sandbox
        .error_reason
        .clone()
        .unwrap_or_else(|| "no reason was given".into());
    Error::Failed {
        id: sandbox.id.clone(),
        reason,
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Plain data with string keys always serializes.
    serde_json::to_string(value).expect("plain data serializes")
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, response: HttpResponse) -> Result<T> {
    serde_json::from_slice(&response.body).map_err(|error| Error::Malformed {
        what: what.into(),
        reason: error.to_string(),
    })
}

/// True for `http` and `https` with a host, in characters that nothing takes for something else.
fn is_web_address(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let plain = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    host.is_some_and(plain)
        && url
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"'`<>\\".contains(&b))
}

/// Percent-encodes one path segment or query value.
pub(crate) fn segment(text: &str) -> String {
    host::percent_encoded(text, b".~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_web_address_is_one() {
        for (url, want) in [
            ("https://3000-token.proxy.example", true),
            ("http://3000-token.localhost:4000/a?b=c#d", true),
            ("http://[::1]:80/", true),
            ("", false),
            ("https://", false),
            ("https:///path", false),
            ("ftp://host/", false),
            ("javascript:alert(1)", false),
            ("https://good.example@evil.example/", false),
            ("https://host/\u{1b}[2J", false),
            ("https://host/a b", false),
            ("https://host/\"><script>", false),
            ("https://höst/", false),
        ] {
            assert_eq!(is_web_address(url), want, "{url}");
        }
    }

    #[test]
    fn the_key_is_never_printed() {
        let settings = Settings {
            api_url: "u".into(),
            api_key: "secret".into(),
            organization: None,
        };
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn a_state_nobody_knows_is_in_transition() {
        let sandbox: Sandbox =
            serde_json::from_str(r#"{"id":"a","state":"defrosting","new":1}"#).expect("parses");
        assert_eq!(sandbox.state, SandboxState::Changing(Way::Unknown));
    }
}
