//! A native program runs many calls on many threads: with a target whose futures are `Send`, those of the
//! client are, too. Nothing is run here; it compiles, or it does not.

use daytona::{Client, Settings, Toolbox};
use protocol::{JobStop, Op, Request, StopReason};
use runner_client::{Looked, Patience, RunnerClient, Target, TargetError};
use std::sync::Arc;
use testkit::TestHost;

/// A native program's sandbox.
struct Sandbox;

#[derive(Clone, Debug, thiserror::Error)]
#[error("gone")]
struct Gone;

impl TargetError for Gone {
    fn of_service(&self) -> Option<&daytona::Error> {
        None
    }
}

impl Target for Sandbox {
    type Error = Gone;

    async fn enter(&self) -> Result<Toolbox, Gone> {
        tokio::task::yield_now().await;
        Err(Gone)
    }

    async fn look(&self, _: &Toolbox) -> Result<Looked, Gone> {
        tokio::task::yield_now().await;
        Err(Gone)
    }
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn a_call_may_move_to_another_thread() {
    let host = Arc::new(TestHost::new(&[]));
    let settings = Settings {
        api_url: "http://127.0.0.1:1/api".into(),
        api_key: "key".into(),
        organization: None,
    };
    let service = Client::new(host.clone(), settings);
    let client = RunnerClient::new(host.clone(), service.clone(), "/nowhere".into());
    let toolbox = Toolbox {
        id: "box".into(),
        proxy_url: "http://127.0.0.1:1/".into(),
    };
    let request = Request::new(
        client.id(),
        Op::JobStop(JobStop {
            job: "a".into(),
            reason: StopReason::Abort,
        }),
    );
    is_send(&client);
    is_send(&client.call(&Sandbox, toolbox.clone(), &request, || false));
    is_send(&client.install_first(&Sandbox, &toolbox, Vec::new(), &request));
    is_send(&client.upload_parts(&Sandbox, &toolbox, Vec::new(), |_| {}));
    let mut patience = Patience::new(&*host, &service, &Sandbox);
    is_send(&patience.after(&toolbox, daytona::Error::Killed));
}
