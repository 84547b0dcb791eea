//! The real OpenCode in a sandbox of `daytona-local`: brought, started, connected to, prompted, killed. The model is
//! a provider that wants a key, which the sandbox reaches through the connection alone and never has.

use agent::api::Prompt;
use agent::connection::Secret;
use agent::outward::{self, Allowance, Gateway, Grant, ModelKind, ModelRoute, Refused, Usage};
use agent::package::{OPENCODE_VERSION, Packages};
use agent::place::Placer;
use agent::start::{Agent, Ports, Settings, Starter};
use daytona::{Client, CreateSandbox, Execute, Toolbox};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use runner_client::RunnerClient;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use testkit::{Local, TestHost};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const KEY: &str = "sk-this-is-the-key-of-the-provider";
const LIMIT: Duration = Duration::from_secs(240);

struct World {
    _local: Local,
    client: Client,
    starter: Starter,
    toolbox: Toolbox,
    _files: tempfile::TempDir,
}

/// Puts a program, compressed, where the cache or the package has it; gives its digest.
fn compressed(program: &Path, to: &Path) -> String {
    let bytes = fs::read(program).expect("the program is there");
    let mut packed = GzEncoder::new(fs::File::create(to).expect("a file"), Compression::fast());
    packed
        .write_all(&bytes)
        .and_then(|()| packed.finish())
        .expect("packed");
    Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl World {
    /// A sandbox with nothing in it, and everything that is needed to change that.
    async fn new() -> World {
        // An error is that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let local = Local::start();
        let files = tempfile::tempdir().expect("a directory");
        let cache = files.path().join("cache");
        // What the registry would give, as it is once it was fetched.
        for (name, program) in [
            (
                format!("opencode-linux-x64-{OPENCODE_VERSION}"),
                "opencode-linux-x64/bin/opencode",
            ),
            (
                "@vscode-ripgrep-linux-x64-1.18.0".into(),
                "@vscode/ripgrep-linux-x64/bin/rg",
            ),
        ] {
            let dir = cache.join(name);
            fs::create_dir_all(&dir).expect("a directory");
            let program = PathBuf::from(format!("{ROOT}/node_modules/{program}"));
            let digest = compressed(&program, &dir.join("program.gz"));
            fs::write(dir.join("sha256"), digest).expect("written");
        }
        let assets = files.path().join("runners");
        fs::create_dir_all(&assets).expect("a directory");
        let digest = compressed(&testkit::runner(), &assets.join("runner.gz"));
        let runners = json!({ "x86_64": { "file": "runner.gz", "sha256": digest } });
        fs::write(assets.join("runners.json"), runners.to_string()).expect("written");

        let host = Arc::new(TestHost::new(&[]));
        let settings = daytona::Settings {
            api_url: local.url.clone(),
            api_key: local.key.clone(),
            organization: None,
        };
        let client = Client::new(host.clone(), settings);
        let packages = Packages::new(host.clone(), "http://127.0.0.1:9", cache);
        let placer = Placer::new(host.clone(), client.clone(), packages);
        let runners =
            RunnerClient::new(host, client.clone(), assets.to_string_lossy().into_owned());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let starter = Starter::new(
            client.clone(),
            runners,
            placer,
            http.build().expect("a client"),
        );
        let create = CreateSandbox {
            name: "agent".into(),
            ..CreateSandbox::default()
        };
        let toolbox = client.create(&create).await.expect("a sandbox").toolbox();
        let world = World {
            _local: local,
            client,
            starter,
            toolbox,
            _files: files,
        };
        world
            .run("mkdir shop && cd shop && git init --quiet && echo hello > README.md")
            .await;
        world
    }

    async fn run(&self, command: &str) -> String {
        let execute = Execute {
            command: command.into(),
            envs: BTreeMap::new(),
            timeout: 60,
        };
        let done = self.client.execute(&self.toolbox, &execute, 1 << 22).await;
        done.expect("it runs").result
    }

    async fn start(&self, provider: &Provider) -> Agent {
        let ports = Ports::default();
        let provider = outward::provider_config(&[provider.route()], ports.outward);
        let settings = Settings {
            directory: "/home/daytona/shop".into(),
            config: json!({
                "provider": provider, "model": "fake/m", "small_model": "fake/m",
                "permission": "allow", "share": "disabled", "autoupdate": false,
            }),
            trusts_project: false,
            ports,
            limit: LIMIT,
        };
        let secret = Secret::new("0123456789abcdef0123456789abcdef").expect("a secret");
        let started = self.starter.start(&self.toolbox, &settings, secret).await;
        started.expect("OpenCode serves")
    }
}

/// A provider of the one model, which wants a key.
struct Provider {
    url: String,
    /// Requests of conversations. Those for a title have no tools.
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = counted.clone();
                tokio::spawn(async move {
                    if let Some(requests) = answer(stream).await {
                        counted.fetch_add(requests, Ordering::Relaxed);
                    }
                });
            }
        });
        Provider { url, asked }
    }

    fn route(&self) -> ModelRoute {
        ModelRoute {
            name: "fake".into(),
            kind: ModelKind::OpenAiCompatible,
            base_url: self.url.clone(),
            key: outward::Secret::new(KEY),
            models: vec!["m".into()],
        }
    }

    /// Sends on what the sandbox asks for.
    fn serve(&self, agent: &Agent) {
        let settings = outward::Settings {
            models: vec![self.route()],
            ..outward::Settings::default()
        };
        let gateway = Gateway::new(settings, reqwest::Client::builder().no_proxy());
        let gateway = Arc::new(gateway.expect("a gateway"));
        let grant = Arc::new(Grant::new(Vec::new(), Arc::new(Unlimited), 8));
        let connection = agent.connection.clone();
        tokio::spawn(async move {
            while let Some(stream) = connection.accept().await {
                let (gateway, grant) = (gateway.clone(), grant.clone());
                tokio::spawn(async move { gateway.serve(stream, &grant).await });
            }
        });
    }
}

struct Unlimited;

impl Allowance for Unlimited {
    fn may_start(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn used(&self, _: Usage) {}
}

/// Answers one request with one text; gives 1 if it has tools.
async fn answer(stream: TcpStream) -> Option<usize> {
    let mut stream = BufReader::new(stream);
    let (mut length, mut has_key, mut line) = (0, false, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => has_key = value == format!("Bearer {KEY}"),
            _ => {}
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    if !has_key {
        stream
            .write_all(
                b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )
            .await
            .ok()?;
        return None;
    }
    let request: Value = serde_json::from_slice(&body).ok()?;
    let chunk = |delta: Value, finish: Value| {
        let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
        let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }], "usage": usage });
        format!("data: {chunk}\n\n")
    };
    let text = [
        chunk(
            json!({ "role": "assistant", "content": "Here I am." }),
            Value::Null,
        ),
        chunk(json!({}), json!("stop")),
        "data: [DONE]\n\n".into(),
    ];
    let text = text.concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    Some(usize::from(
        request["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty()),
    ))
}

/// The texts of the answers to a prompt.
async fn answers(agent: &Agent, session: &str, prompt: &Prompt) -> Vec<String> {
    let messages = agent.api.messages(session).await.expect("messages");
    let of = messages
        .iter()
        .filter(|message| message["info"]["parentID"] == prompt.message_id());
    of.map(|message| {
        let parts = message["parts"].as_array().cloned().unwrap_or_default();
        let texts = parts.iter().filter(|part| part["type"] == "text");
        texts.filter_map(|part| part["text"].as_str()).collect()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_in_a_bare_sandbox_answers_each_prompt_once_whatever_its_clock_says_and_comes_back_when_it_dies()
 {
    if !cfg!(target_arch = "x86_64") {
        testkit::skip("opencode", "its package is installed for x86_64 only");
        return;
    }
    let world = World::new().await;
    let provider = Provider::start().await;
    let agent = world.start(&provider).await;
    assert_eq!(agent.version, OPENCODE_VERSION);
    provider.serve(&agent);
    let session = agent.api.create_session("A shop").await.expect("a session");
    let now = SystemTime::now();
    let ten = Duration::from_secs(600);
    let mut expected = 0;
    for (what, at) in [("now", now), ("ahead", now + ten), ("behind", now - ten)] {
        let prompt = Prompt::new("fake", "m", "Hello.", expected as u64 + 1, at);
        for again in [false, true] {
            let reply = agent
                .api
                .prompt(&session, &prompt, LIMIT)
                .await
                .expect("an answer");
            let parts = reply["parts"].as_array();
            assert!(parts.is_some_and(|parts| !parts.is_empty()), "{reply}");
            assert_eq!(
                answers(&agent, &session, &prompt).await,
                ["Here I am."],
                "{what}, again: {again}"
            );
        }
        expected += 1;
        assert_eq!(
            provider.asked.load(Ordering::Relaxed),
            expected,
            "requests to the model, {what}"
        );
    }

    // It is killed with all it has started; the keeper brings it back, with the same session.
    world.run("kill -9 $(grep -o '\"pid\":[0-9]*' ~/.opencode-daytona/agent/opencode/state.json | cut -d: -f2)").await;
    agent.api.healthy(LIMIT).await.expect("it comes back");
    let prompt = Prompt::new("fake", "m", "Still there?", 9, SystemTime::now());
    agent
        .api
        .prompt(&session, &prompt, LIMIT)
        .await
        .expect("an answer");
    assert_eq!(answers(&agent, &session, &prompt).await, ["Here I am."]);

    // The key was used, and is nowhere in there: in no environment, no command line, no file, and no answer of OpenCode.
    // As a pattern that does not find itself.
    let pattern = format!("[{}]{}", &KEY[..1], &KEY[1..]);
    let look = format!(
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '{pattern}'; \
         grep -rl '{pattern}' /home /tmp /etc 2>/dev/null | grep -c .; cat /proc/self/environ | tr '\\0' '\\n' | grep -c ^HOME="
    );
    assert_eq!(
        world.run(&look).await,
        "0\n0\n1\n",
        "the last one shows that something is found at all"
    );
    for path in ["/config", "/config/providers"] {
        let said = agent
            .api
            .send(Method::GET, path, None, LIMIT)
            .await
            .expect("an answer");
        assert!(!said.to_string().contains(KEY), "{path}");
    }

    // Started again it is the same one.
    let again = world.start(&provider).await;
    assert_eq!(
        again.api.messages(&session).await.expect("messages").len(),
        8
    );
}
