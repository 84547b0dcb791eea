//! What an answer means: statuses and headers of the control plane and of toolboxes, as kinds of errors.

use crate::error::{Error, Result};
use crate::toolbox::{BULK_UPLOAD, DOWNLOAD, Toolbox};
use host::HttpResponse;

/// The service's words: `message`, else `error` or `errors`, else the start of the body.
pub(crate) fn message(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let value: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let text = value.as_ref().and_then(|v| {
        let field = ["message", "error", "errors"]
            .iter()
            .find_map(|name| v.get(name))?;
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
pub(crate) fn check(
    what: &str,
    url: &str,
    response: HttpResponse,
    now: u64,
) -> Result<HttpResponse> {
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
            retry_after_ms: retry_after_ms(&response, now),
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

/// The same for what came from a toolbox's address.
pub(crate) fn check_toolbox(
    toolbox: &Toolbox,
    path: &str,
    response: HttpResponse,
    now: u64,
) -> Result<HttpResponse> {
    let (id, status) = (toolbox.id.clone(), response.status);
    let words = || message(&response);
    Err(match status {
        200..=299 => return Ok(response),
        408 => Error::Killed,
        _ if is_of_the_daemon(path, &response) => Error::Refused {
            id,
            status,
            message: words(),
        },
        _ => {
            let limited = (response.headers.iter()).any(|(name, _)| name.starts_with(RETRY_AFTER));
            Error::Toolbox {
                id,
                status,
                message: words(),
                retry_after_ms: limited.then(|| retry_after_ms(&response, now)),
            }
        }
    })
}

/// True for a refusal that the daemon in the sandbox wrote, by its form. Newer daemons say who they
/// are; 0.190 answers for files with the status alone, and lists what failed in a bulk upload, which
/// neither the proxy nor the service's runner does.
fn is_of_the_daemon(path: &str, response: &HttpResponse) -> bool {
    if !matches!(response.status, 400 | 403 | 404 | 409 | 410 | 422) {
        return false;
    }
    let body: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
    let has = |field: &str| body.as_ref().and_then(|body| body.get(field));
    has("source").is_some_and(|source| source == "DAYTONA_DAEMON")
        || (path == DOWNLOAD && response.body.is_empty())
        || (path == BULK_UPLOAD && has("errors").is_some_and(serde_json::Value::is_array))
}

/// Start of the names of the headers that say when to try again.
const RETRY_AFTER: &str = "retry-after";

/// `Retry-After`, in seconds or as a date; the service also has one header per limit. A date is read by
/// the server's own clock, if it says what that shows. Bounded.
fn retry_after_ms(response: &HttpResponse, now: u64) -> u64 {
    let date = |text: &str| {
        let since = httpdate::parse_http_date(text.trim()).ok()?;
        let since = since.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    };
    let headers = || response.headers.iter();
    let servers = headers().find(|(name, _)| name == "date");
    let now = servers.and_then(|(_, text)| date(text)).unwrap_or(now);
    let ms = |text: &str| match text.trim().parse::<u64>() {
        Ok(seconds) => Some(seconds.saturating_mul(1000)),
        Err(_) => Some(date(text)?.saturating_sub(now)),
    };
    let all = headers().filter(|(name, _)| name.starts_with(RETRY_AFTER));
    let longest = all.filter_map(|(_, text)| ms(text)).max();
    longest.unwrap_or(1000).min(3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolbox::EXECUTE;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            headers: vec![("retry-after-authenticated".into(), "7".into())],
            body: body.into(),
        }
    }

    fn toolbox() -> Toolbox {
        Toolbox {
            id: "s1".into(),
            proxy_url: "u".into(),
        }
    }

    #[test]
    fn only_what_the_daemon_wrote_is_its_answer() {
        let kind =
            |path, status, body| match check_toolbox(&toolbox(), path, response(status, body), 0) {
                Ok(_) => "ok",
                Err(Error::Toolbox {
                    retry_after_ms: Some(7000),
                    ..
                }) => "unclear",
                Err(Error::Refused { .. }) => "refused",
                Err(Error::Killed) => "killed",
                Err(other) => panic!("{other:?}"),
            };
        // What the proxy and the service's runner write, whatever their words are.
        let proxy =
            r#"{"statusCode":404,"message":"x","code":"NOT_FOUND","timestamp":"t","path":"p"}"#;
        let daemon =
            r#"{"statusCode":404,"message":"x","code":"FILE_NOT_FOUND","source":"DAYTONA_DAEMON"}"#;
        for (path, status, body, expected) in [
            (EXECUTE, 200, "{}", "ok"),
            (BULK_UPLOAD, 201, "", "ok"),
            (EXECUTE, 408, "", "killed"),
            (EXECUTE, 400, proxy, "unclear"),
            (EXECUTE, 400, "", "unclear"),
            (EXECUTE, 404, "", "unclear"),
            (EXECUTE, 401, daemon, "unclear"),
            (EXECUTE, 400, daemon, "refused"),
            (EXECUTE, 403, "{}", "unclear"),
            (EXECUTE, 409, "{}", "unclear"),
            (EXECUTE, 429, "", "unclear"),
            (EXECUTE, 500, daemon, "unclear"),
            (EXECUTE, 502, "", "unclear"),
            (EXECUTE, 503, "<html>", "unclear"),
            (EXECUTE, 302, "", "unclear"),
            (DOWNLOAD, 404, "", "refused"),
            (DOWNLOAD, 404, daemon, "refused"),
            (DOWNLOAD, 404, proxy, "unclear"),
            (DOWNLOAD, 404, "404 page not found", "unclear"),
            (DOWNLOAD, 401, "", "unclear"),
            (DOWNLOAD, 502, "", "unclear"),
            (
                BULK_UPLOAD,
                400,
                r#"{"errors":["disk full"],"files":null}"#,
                "refused",
            ),
            (BULK_UPLOAD, 400, proxy, "unclear"),
            (BULK_UPLOAD, 400, "", "unclear"),
        ] {
            assert_eq!(kind(path, status, body), expected, "{path} {status} {body}");
        }
    }

    #[test]
    fn every_status_of_the_api_has_its_kind() {
        let kind = |status| match check("a sandbox", "u", response(status, "{}"), 0) {
            Ok(_) => "ok",
            Err(Error::Unauthorized { .. }) => "unauthorized",
            Err(Error::Forbidden { .. }) => "forbidden",
            Err(Error::NotFound { .. }) => "not found",
            Err(Error::Conflict { .. }) => "conflict",
            Err(Error::RateLimited {
                retry_after_ms: 7000,
            }) => "rate limited",
            Err(Error::Unavailable { .. }) => "unavailable",
            Err(Error::Rejected { .. }) => "rejected",
            Err(other) => panic!("{other:?}"),
        };
        for (status, expected) in [
            (200, "ok"),
            (201, "ok"),
            (302, "rejected"),
            (400, "rejected"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "not found"),
            (409, "conflict"),
            (422, "rejected"),
            (429, "rate limited"),
            (500, "unavailable"),
            (503, "unavailable"),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date_by_the_clock_of_whoever_says_it() {
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        let later = "Wed, 21 Oct 2026 07:28:20 GMT";
        let now = 1_792_567_675_000; // 07:27:55
        for (headers, ms) in [
            (vec![("retry-after", "7")], 7_000),
            (
                vec![("retry-after", "7"), ("retry-after-sandbox-create", "9")],
                9_000,
            ),
            (vec![("retry-after", date)], 5_000),
            (vec![("retry-after", later), ("date", date)], 20_000),
            (vec![("retry-after", date), ("date", later)], 0),
            (
                vec![("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")],
                3_600_000,
            ),
            (vec![("retry-after", "18446744073709551615")], 3_600_000),
            (vec![("retry-after", "soon")], 1_000),
            (vec![], 1_000),
        ] {
            let headers = headers
                .iter()
                .map(|(name, text)| (name.to_string(), text.to_string()));
            let response = HttpResponse {
                status: 429,
                headers: headers.collect(),
                body: Vec::new(),
            };
            assert_eq!(retry_after_ms(&response, now), ms, "{:?}", response.headers);
        }
    }
}
