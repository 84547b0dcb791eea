//! The client: one method per request, and the policy of repeating and waiting.

use crate::error::{Error, Result};
use crate::types::*;
use host::{Body, Host, HttpRequest, HttpResponse, Level, Part, PartContent};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::rc::Rc;

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
    host: Rc<dyn Host>,
    settings: Rc<Settings>,
}

/// Address of one sandbox's toolbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolbox {
    /// The sandbox.
    pub id: String,
    /// Base URL of the proxy.
    pub proxy_url: String,
}

impl Client {
    /// A client of `settings` that talks through `host`.
    pub fn new(host: Rc<dyn Host>, settings: Settings) -> Self {
        Client {
            host,
            settings: Rc::new(settings),
        }
    }

    /// Makes a sandbox. Not repeated here: whether a lost answer left a sandbox behind is for the
    /// caller to find out by name.
    pub async fn create(&self, sandbox: &CreateSandbox) -> Result<Sandbox> {
        let body = Body::Json(json(sandbox));
        let response = self
            .once(
                "POST",
                self.api("/sandbox"),
                body,
                API_TIMEOUT_MS,
                MAX_API_BYTES,
            )
            .await?;
        parse(
            "a create",
            check("the sandbox to create", &self.api("/sandbox"), response)?,
        )
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

    /// A snapshot, by id or name.
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot> {
        let path = format!("/snapshots/{}", segment(name));
        let response = self
            .repeat("GET", &path, &format!("snapshot {name}"))
            .await?;
        parse("a snapshot", response)
    }

    /// Starts a sandbox and waits until it runs.
    pub async fn start(&self, id: &str) -> Result<Sandbox> {
        let response = self
            .repeat(
                "POST",
                &format!("/sandbox/{}/start", segment(id)),
                &format!("sandbox {id}"),
            )
            .await?;
        let sandbox: Sandbox = parse("a start", response)?;
        match sandbox.state {
            State::Started => Ok(sandbox),
            _ => self.wait_started(id, 300).await,
        }
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

    /// Waits until a sandbox runs. Polls once a second, like the official SDK.
    pub async fn wait_started(&self, id: &str, seconds: u64) -> Result<Sandbox> {
        let deadline = self.host.now_ms() + seconds * 1000;
        loop {
            let sandbox = self.get(id).await?;
            match sandbox.state {
                State::Started => return Ok(sandbox),
                State::Error | State::BuildFailed => return Err(failed(&sandbox)),
                State::Destroyed | State::Destroying => {
                    return Err(Error::NotFound {
                        what: format!("sandbox {id}"),
                        message: "it is being deleted".into(),
                    });
                }
                State::Stopped | State::Archived | State::Paused | State::Changing => {}
            }
            if self.host.now_ms() >= deadline {
                return Err(Error::TooSlow {
                    id: id.into(),
                    wanted: "started",
                    seconds,
                });
            }
            self.host.sleep(1_000).await;
        }
    }

    /// Runs a script in a sandbox, once. `max_bytes` bounds the answer.
    pub async fn execute(
        &self,
        toolbox: &Toolbox,
        execute: &Execute,
        max_bytes: usize,
    ) -> Result<ExecuteResult> {
        let url = toolbox_url(toolbox, "/process/execute");
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
        parse("an execute", check_toolbox(&toolbox.id, &url, response)?)
    }

    /// Uploads files in one request. Not atomic: use temporary names and a rename.
    pub async fn upload(&self, toolbox: &Toolbox, files: &[Upload]) -> Result<()> {
        let url = toolbox_url(toolbox, "/files/bulk-upload");
        let mut parts = Vec::new();
        for (index, file) in files.iter().enumerate() {
            // The path must come before the content of the same index.
            let path = Part {
                name: format!("files[{index}].path"),
                content: PartContent::Text(file.path.clone()),
            };
            let content = match &file.source {
                UploadSource::File(path) => PartContent::File(path.clone()),
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
        check_toolbox(&toolbox.id, &url, response).map(drop)
    }

    /// Downloads a file of the sandbox to the file `save_to` of the host, which may be
    /// there in part after an error. `max_bytes` bounds it.
    pub async fn download(
        &self,
        toolbox: &Toolbox,
        path: &str,
        save_to: &str,
        max_bytes: usize,
    ) -> Result<()> {
        let url = toolbox_url(toolbox, &format!("/files/download?path={}", segment(path)));
        self.until_answered(&format!("GET {url}"), async || {
            let request = HttpRequest {
                method: "GET",
                url: url.clone(),
                headers: Vec::new(),
                body: Body::Empty,
                timeout_ms: TRANSFER_TIMEOUT_MS,
                max_bytes,
                save_to: Some(save_to.into()),
            };
            check_toolbox(&toolbox.id, &url, self.send(request).await?).map(drop)
        })
        .await
    }

    /// An address under which anybody reaches a port of the sandbox for `seconds`.
    pub async fn signed_preview_url(
        &self,
        id: &str,
        port: u16,
        seconds: u64,
    ) -> Result<SignedPreview> {
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

    /// Sends a request of the control plane that may be repeated, until it is answered for good.
    async fn repeat(&self, method: &'static str, path: &str, what: &str) -> Result<HttpResponse> {
        let url = self.api(path);
        self.until_answered(&format!("{method} {path}"), async || {
            let (timeout_ms, max_bytes) = (API_TIMEOUT_MS, MAX_API_BYTES);
            let sent = self.once(method, url.clone(), Body::Empty, timeout_ms, max_bytes);
            check(what, &url, sent.await?)
        })
        .await
    }

    /// Repeats `send` while it fails in a way that passes; `request` is for the log.
    async fn until_answered<T>(
        &self,
        request: &str,
        send: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            match send().await {
                Err(error) if error.is_transient() && attempt < RETRIES => {
                    self.host
                        .log(Level::Warn, &format!("{request}: {error}; trying again"));
                    self.pause(&error, attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Sleeps before attempt `attempt + 1`: exponential with jitter, or what the server asked for.
    pub async fn pause(&self, error: &Error, attempt: u32) {
        let backoff = (250u64 << attempt.min(6)) + self.host.random() % 100;
        let ms = match error {
            Error::RateLimited { retry_after_ms } => (*retry_after_ms).max(backoff),
            _ => backoff,
        };
        self.host.sleep(ms.min(MAX_PAUSE_MS)).await;
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
        Ok(self.host.http(request).await?)
    }

    fn api(&self, path: &str) -> String {
        format!("{}{path}", self.settings.api_url.trim_end_matches('/'))
    }
}

fn toolbox_url(toolbox: &Toolbox, path: &str) -> String {
    format!(
        "{}/{}{path}",
        toolbox.proxy_url.trim_end_matches('/'),
        toolbox.id
    )
}

fn failed(sandbox: &Sandbox) -> Error {
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

fn parse<T: DeserializeOwned>(what: &str, response: HttpResponse) -> Result<T> {
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
fn segment(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                (b as char).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// The service's words: `message`, else `error`, else the start of the body.
fn message(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let value: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let text = value.as_ref().and_then(|v| {
        let field = v.get("message").or_else(|| v.get("error"))?;
        Some(match field {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    });
    let text = text.unwrap_or_else(|| {
        if body.is_empty() {
            "no explanation".into()
        } else {
            body.to_string()
        }
    });
    text.chars().take(500).collect()
}

/// Turns a status of the control plane into a kind of error.
fn check(what: &str, url: &str, response: HttpResponse) -> Result<HttpResponse> {
    let (what, url, words) = (what.to_string(), url.to_string(), || message(&response));
    Err(match response.status {
        200..=299 => return Ok(response),
        401 => Error::Unauthorized { url },
        403 => Error::Forbidden {
            url,
            message: words(),
        },
        404 => Error::NotFound {
            what,
            message: words(),
        },
        409 => Error::Conflict {
            what,
            message: words(),
        },
        429 => Error::RateLimited {
            retry_after_ms: retry_after_ms(&response),
        },
        500.. => Error::Unavailable {
            status: response.status,
            url,
            message: words(),
        },
        status => Error::Rejected {
            status,
            what,
            message: words(),
        },
    })
}

/// Like [`check`], for the toolbox proxy, which says "not running" in several ways.
fn check_toolbox(id: &str, url: &str, response: HttpResponse) -> Result<HttpResponse> {
    let (status, words) = (response.status, message(&response));
    let stopped = words.contains("Is the Sandbox started")
        || words.contains("no IP address")
        || words.contains("failed to get runner info");
    match status {
        400 if stopped => Err(Error::NotRunning {
            status,
            message: words,
        }),
        502 if response.body.is_empty() => Err(Error::NotRunning {
            status,
            message: "the toolbox does not answer".into(),
        }),
        408 => Err(Error::Killed),
        _ => check(&format!("sandbox {id}"), url, response),
    }
}

/// `Retry-After` in seconds; the service also has one header per limit. Bounded.
fn retry_after_ms(response: &HttpResponse) -> u64 {
    let seconds = response
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("retry-after"))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .max()
        .unwrap_or(1);
    seconds.min(3600) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            headers: vec![("retry-after-authenticated".into(), "7".into())],
            body: body.into(),
        }
    }

    #[test]
    fn every_status_of_the_toolbox_has_its_kind() {
        let kind = |status, body| match check_toolbox("s1", "u", response(status, body)) {
            Ok(_) => "ok",
            Err(Error::Unauthorized { .. }) => "unauthorized",
            Err(Error::Forbidden { .. }) => "forbidden",
            Err(Error::NotFound { .. }) => "not found",
            Err(Error::Conflict { .. }) => "conflict",
            Err(Error::RateLimited {
                retry_after_ms: 7000,
            }) => "rate limited",
            Err(Error::NotRunning { .. }) => "not running",
            Err(Error::Killed) => "killed",
            Err(Error::Unavailable { .. }) => "unavailable",
            Err(Error::Rejected { .. }) => "rejected",
            Err(other) => panic!("{other:?}"),
        };
        for (status, body, expected) in [
            (200, "{}", "ok"),
            (201, "", "ok"),
            (
                400,
                r#"{"message":"bad request: no IP address found. Is the Sandbox started?"}"#,
                "not running",
            ),
            (
                400,
                r#"{"message":"failed to get runner info: x"}"#,
                "not running",
            ),
            (400, r#"{"message":"command is required"}"#, "rejected"),
            (401, "", "unauthorized"),
            (403, "{}", "forbidden"),
            (404, "", "not found"),
            (408, "", "killed"),
            (409, "{}", "conflict"),
            (429, "", "rate limited"),
            (502, "", "not running"),
            (502, "<html>", "unavailable"),
            (503, "", "unavailable"),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

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
        assert_eq!(sandbox.state, State::Changing);
    }
}
