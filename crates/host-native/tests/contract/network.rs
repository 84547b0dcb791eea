//! What a network does to requests: failures by their kinds, time limits, certificates, proxies.

use crate::http::get;
use crate::server::{Server, Then, answer, ok, raw};
use crate::world::{Kind, World};
use host::{Body, CertificateFault, Host, HttpError, HttpRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A port where nobody listens: it is bound, so that nobody else can.
fn closed() -> (std::net::TcpListener, u16) {
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    bind(&bound, &any).expect("bound");
    let bound = std::net::TcpListener::from(bound);
    let port = bound.local_addr().expect("an address").port();
    (bound, port)
}

fn kind(error: &HttpError) -> &'static str {
    match error {
        HttpError::Connect { .. } => "connect",
        HttpError::Proxy { .. } => "proxy",
        HttpError::Name { .. } => "name",
        HttpError::Certificate { fault, .. } => match fault {
            CertificateFault::Unverified => "unverified",
            CertificateFault::Expired => "expired",
            CertificateFault::OtherName => "other name",
        },
        HttpError::Tls { .. } => "tls",
        HttpError::Request { .. } => "request",
        HttpError::Dropped { .. } => "dropped",
        HttpError::Timeout { .. } => "timeout",
        HttpError::TooLarge { .. } => "too large",
    }
}

async fn failure(host: &dyn Host, request: HttpRequest) -> HttpError {
    let url = request.url.clone();
    match host.http(request).await {
        Err(error) => error,
        Ok(response) => panic!("{url} answered {}", response.status),
    }
}

pub(crate) async fn every_failure_has_its_kind(world: &World) {
    let server = Server::start(|seen| match &*seen.target {
        "/reset" => raw("", Then::Reset),
        "/close" => raw("", Then::Close),
        "/head" => raw("HTTP/1.1 200 OK\r\ncontent-le", Then::Close),
        "/cut" => raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            Then::Close,
        ),
        "/cut-reset" => raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            Then::Reset,
        ),
        "/cut-chunk" => raw(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
            Then::Close,
        ),
        "/cut-chunks" => raw(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            Then::Close,
        ),
        "/noise" => raw("this is no HTTP\r\n\r\n", Then::Close),
        _ => ok(""),
    });
    let server = server.await;
    let (_bound, closed) = closed();
    // One that breaks off every handshake, as it comes.
    let breaking = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let broken = breaking.local_addr().expect("an address").port();
    tokio::spawn(async move { while breaking.accept().await.is_ok() {} });
    // One that does not know TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain_port = plain.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // Until the other end has closed.
            while let Ok(1..) = stream.read(&mut hello).await {}
        }
    });
    // Bun does not always say when a connection was broken off, and then there may have been an effect; and where it
    // hears no TLS, it says the same as for a port where nobody listens.
    let no_tls = match world.kind {
        Kind::Native => "tls",
        Kind::Bun => "connect",
    };
    for (url, expected, no_effect) in [
        (format!("http://127.0.0.1:{closed}/"), "connect", true),
        (format!("https://127.0.0.1:{closed}/"), "connect", true),
        ("http://no-such-host.invalid/".into(), "name", true),
        ("https://no-such-host.invalid/".into(), "name", true),
        (format!("https://127.0.0.1:{broken}/"), "tls", true),
        (format!("https://127.0.0.1:{plain_port}/"), no_tls, true),
        (server.url("/reset"), "dropped", false),
        (server.url("/close"), "dropped", false),
        (server.url("/head"), "dropped", false),
        (server.url("/cut"), "dropped", false),
        (server.url("/cut-reset"), "dropped", false),
        (server.url("/cut-chunk"), "dropped", false),
        (server.url("/cut-chunks"), "dropped", false),
        (server.url("/noise"), "dropped", false),
    ] {
        for save_to in [None, Some((world.path("saved"), 0))] {
            let (method, body) = ("POST", Body::Json("{}".into()));
            let request = HttpRequest {
                method,
                body,
                save_to,
                ..get(url.clone())
            };
            let error = failure(&*world.host, request).await;
            let is_unsaid = matches!(world.kind, Kind::Bun) && kind(&error) == "dropped";
            let (expected, no_effect) = match expected {
                "tls" if is_unsaid => ("dropped", false),
                _ => (expected, no_effect),
            };
            assert_eq!(kind(&error), expected, "{url}: {error:?}");
            assert_eq!(error.had_no_effect(), no_effect, "{url}: {error:?}");
            assert!(error.is_passing(), "{url}: {error:?}");
        }
    }
    let named = failure(&*world.host, get("http://no-such-host.invalid:3/x".into())).await;
    let says = named.to_string();
    let expected =
        "the name no-such-host.invalid in http://no-such-host.invalid:3/x is not known here (";
    assert!(says.starts_with(expected), "{says}");
}

pub(crate) async fn the_time_limit_holds_for_the_head_and_for_the_body(world: &World) {
    let server = Server::start(|seen| match &*seen.target {
        "/head" => raw("", Then::Hang),
        _ => raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Then::Hang,
        ),
    });
    let server = server.await;
    for path in ["/head", "/body"] {
        for save_to in [None, Some((world.path("saved"), 0))] {
            let (url, timeout_ms) = (server.url(path), 300);
            let request = HttpRequest {
                timeout_ms,
                save_to,
                ..get(url.clone())
            };
            let error = failure(&*world.host, request).await;
            assert_eq!(error, HttpError::Timeout { url, timeout_ms }, "{path}");
            assert!(!error.had_no_effect());
        }
    }
}

/// An authority of a case's own, and certificates of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Authority of a case");
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    fn acceptor(&self, name: &str, last_year: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_string()]).expect("parameters");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.expect("its key")))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

pub(crate) async fn a_certificate_is_refused_for_what_is_wrong_with_it(world: &World) {
    let authority = Authority::new();
    let trusted = world.file("authority.pem", authority.pem());
    let trusting = world.with(&[("NODE_EXTRA_CA_CERTS", &trusted)]);
    for (host, name, last_year, expected) in [
        (&world.host, "localhost", 2090, "unverified"),
        (&trusting, "localhost", 2021, "expired"),
        (&trusting, "elsewhere.example", 2090, "other name"),
    ] {
        let server = Server::over(Some(authority.acceptor(name, last_year)), |_| ok("")).await;
        let error = failure(&**host, get(format!("https://localhost:{}/", server.port))).await;
        assert_eq!(kind(&error), expected, "{error:?}");
        assert!(error.had_no_effect() && !error.is_passing(), "{error:?}");
        assert!(server.seen().is_empty());
    }
}

pub(crate) async fn certificates_of_the_environment_are_trusted(world: &World) {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", 2090);
    let server = Server::over(Some(acceptor), |seen| ok(&seen.target)).await;
    let file = world.file("authority.pem", authority.pem());
    // The name that OpenSSL finds a certificate by in a directory: eight digits of a hash, and a number.
    std::fs::create_dir(world.path("certificates")).expect("made");
    world.file("certificates/0a1b2c3d.0", authority.pem());
    let dir = world.path("certificates");
    let url = format!("https://localhost:{}/secure", server.port);
    let host = world.with(&[("NODE_EXTRA_CA_CERTS", &file)]);
    let mut hosts = vec![Arc::clone(&host)];
    if world.kind == Kind::Native {
        // What other native programs read, too.
        hosts.push(world.with(&[("SSL_CERT_FILE", &file)]));
        hosts.push(world.with(&[("SSL_CERT_DIR", &dir)]));
    }
    for host in hosts {
        for _ in 0..2 {
            let response = host.http(get(url.clone())).await.expect("answered");
            assert_eq!(response.body, b"/secure");
        }
    }
    let address = format!("localhost:{}", server.port);
    let asked = "GET /line HTTP/1.1\r\n\r\n";
    let line = host.first_line(&address, true, asked).await;
    assert_eq!(line.as_deref(), Some("HTTP/1.1 200 Words"));
    // Nobody is trusted who is not named.
    assert_eq!(world.host.first_line(&address, true, asked).await, None);
}

pub(crate) async fn requests_go_through_the_proxy_of_the_environment(world: &World) {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", 2090);
    let service = Server::over(Some(acceptor), |_| ok("the service")).await;
    let port = service.port;
    let proxy = Server::start(move |seen| match &*seen.method {
        "CONNECT" => raw("HTTP/1.1 200 Connected\r\n\r\n", Then::Tunnel(port)),
        _ => answer(200, "", "the proxy"),
    });
    let proxy = proxy.await;
    let named = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port);
    let trusted = world.file("authority.pem", authority.pem());
    let host = world.with(&[
        ("HTTP_PROXY", &named),
        ("HTTPS_PROXY", &named),
        ("NO_PROXY", "127.0.0.1"),
        ("NODE_EXTRA_CA_CERTS", &trusted),
    ]);
    // The proxy looks for the name, not this machine.
    let plain = host
        .http(get("http://no-such-host.invalid/a?b".into()))
        .await;
    assert_eq!(plain.expect("answered").body, b"the proxy");
    let secure = host.http(get(format!("https://localhost:{port}/"))).await;
    assert_eq!(secure.expect("answered").body, b"the service");
    let seen = proxy.seen();
    let targets: Vec<_> = seen
        .iter()
        .map(|seen| (&*seen.method, &*seen.target))
        .collect();
    let place = format!("localhost:{port}");
    assert_eq!(
        targets,
        [
            ("GET", "http://no-such-host.invalid/a?b"),
            ("CONNECT", &place)
        ]
    );
    for seen in &seen {
        let login = seen.header("proxy-authorization");
        assert_eq!(login, Some("Basic dXNlcjpwQHNz"), "{seen:?}");
    }
    // What is exempt goes straight.
    let straight = Server::start(|_| ok("straight")).await;
    let exempt = host.http(get(straight.url("/"))).await.expect("answered");
    assert_eq!(exempt.body, b"straight");
    // A proxy that does not connect: its refusal is told, and nothing was sent.
    let refusing = Server::start(|_| answer(403, "", "no")).await;
    let named = format!("http://127.0.0.1:{}", refusing.port);
    let host = world.with(&[("HTTPS_PROXY", &named), ("NODE_EXTRA_CA_CERTS", &trusted)]);
    let before = service.seen().len();
    match host.http(get(format!("https://localhost:{port}/"))).await {
        // Bun hands the refusal on as if it were the response (`daytona/src/proxied.rs`).
        Ok(response) => assert_eq!(response.status, 403),
        Err(error) => assert_eq!(kind(&error), "proxy", "{error:?}"),
    }
    assert_eq!(service.seen().len(), before);
}

pub(crate) async fn a_proxy_that_is_not_there_is_told_by_its_variable(world: &World) {
    let (_bound, port) = closed();
    let nobody = format!("http://127.0.0.1:{port}");
    let host = world.with(&[
        ("HTTPS_PROXY", &nobody),
        ("http_proxy", "http://no-such-proxy.invalid:1"),
    ]);
    let error = failure(&*host, get("https://service.invalid/".into())).await;
    let HttpError::Proxy {
        address, variable, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (&**address, *variable),
        (&*format!("127.0.0.1:{port}"), "HTTPS_PROXY")
    );
    let error = failure(&*host, get("http://service.invalid/".into())).await;
    let HttpError::Name { name, within, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (&**name, &**within),
        ("no-such-proxy.invalid", "http_proxy")
    );
}

pub(crate) async fn the_first_line_comes_back(world: &World) {
    for (bytes, then, expected) in [
        (
            "HTTP/1.1 407 Who\r\nx: y\r\n\r\n",
            Then::Close,
            Some("HTTP/1.1 407 Who"),
        ),
        (
            "HTTP/1.1 200 Connected\r\n\r\n",
            Then::Hang,
            Some("HTTP/1.1 200 Connected"),
        ),
        ("only\nthis", Then::Close, Some("only")),
        ("no end", Then::Close, Some("no end")),
        ("", Then::Close, None),
    ] {
        let server = Server::start(move |_| raw(bytes, then)).await;
        let address = format!("127.0.0.1:{}", server.port);
        let asked = "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n";
        let line = world.host.first_line(&address, false, asked).await;
        assert_eq!(line.as_deref(), expected, "{bytes:?}");
        let seen = server.seen();
        assert_eq!((&*seen[0].method, &*seen[0].target), ("CONNECT", "a:1"));
    }
    let endless = Server::start(|_| raw("x".repeat(1 << 20), Then::Hang)).await;
    let address = format!("127.0.0.1:{}", endless.port);
    let line = world
        .host
        .first_line(&address, false, "GET / HTTP/1.1\r\n\r\n")
        .await;
    assert!(line.is_none_or(|line| line.len() < 100_000));
    let (_bound, port) = closed();
    let line = world
        .host
        .first_line(&format!("127.0.0.1:{port}"), false, "x")
        .await;
    assert_eq!(line, None);
}
