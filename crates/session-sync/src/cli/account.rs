//! The store's address and key: `login`, `logout`, `status`.

use super::init::OTHER;
use super::{Cli, Done, Problem};
use crate::config::{self, File};
use crate::spool::Entry;
use crate::store::{Store, base_url};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Where [`OTHER`] keeps address and key, below the user's home (its release 0.3.6).
const LEFT: &str = ".opensync/credentials.json";

impl Cli {
    pub(super) async fn login(&self, args: &[&str]) -> Result<Done, Problem> {
        let (url, key) = match args {
            ["--take-over"] => self.left_behind().await?,
            ["--url", url] => (base_url(url)?, self.key().await?),
            [] => match self.offered().await {
                Some(left) => left,
                None => (base_url(&self.address().await?)?, self.key().await?),
            },
            _ => {
                return Err(Problem::Usage(
                    "login takes --url URL, or --take-over, and nothing else".into(),
                ));
            }
        };
        self.save(&url, key).await
    }

    /// The address that the environment has, or that is asked for.
    async fn address(&self) -> Result<String, Problem> {
        let question = "Address of the store (https://NAME.convex.cloud): ";
        let given = match self.host.env(config::URL_VARIABLE) {
            Some(url) => Some(url),
            None => self.terminal.ask(question, false).await,
        };
        let why = "name the store with --url URL: nobody can be asked here";
        Ok(given.ok_or(why.to_string())?)
    }

    /// The key that the environment has, that was piped in, or that is asked for.
    async fn key(&self) -> Result<String, Problem> {
        let terminal = &self.terminal;
        let key = match self.host.env(config::KEY_VARIABLE) {
            Some(key) => key,
            None => match terminal.piped().await {
                Some(key) => key,
                None => terminal
                    .ask("Key (osk_…, it is not shown): ", true)
                    .await
                    .unwrap_or_default(),
            },
        };
        let key = key.trim().trim_matches(['"', '\'']).to_string();
        match key.is_empty() {
            false => Ok(key),
            true => Err(Problem::Failed(format!(
                "no key was given: pipe it in, or set {}",
                config::KEY_VARIABLE
            ))),
        }
    }

    /// Where the other plugin keeps address and key.
    fn left_path(&self) -> Option<String> {
        let home = self.host.platform().home(|name| self.host.env(name))?;
        Some(format!("{home}/{LEFT}"))
    }

    /// The address and the key that the other plugin has saved. They stay there.
    async fn left_behind(&self) -> Result<(String, String), String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Left {
            convex_url: Option<String>,
            api_key: Option<String>,
        }
        let path = self.left_path().ok_or("HOME is not set")?;
        let bytes = self.host.read_file(&path).await;
        let bytes = bytes.map_err(|why| format!("there is nothing to take over: {why}"))?;
        let left: Left = serde_json::from_slice(&bytes)
            .map_err(|why| format!("{path} cannot be used: {why}"))?;
        let whole = left.convex_url.zip(left.api_key);
        let (url, key) = whole
            .map(|(url, key)| (url, key.trim().to_string()))
            .filter(|(url, key)| !url.trim().is_empty() && !key.is_empty())
            .ok_or_else(|| format!("{path} has no address and key: {OTHER} is logged out"))?;
        Ok((base_url(&url)?, key))
    }

    /// What the other plugin has saved, if there is nothing else and the user wants it.
    async fn offered(&self) -> Option<(String, String)> {
        let variables = [config::URL_VARIABLE, config::KEY_VARIABLE];
        if variables.iter().any(|name| self.host.env(name).is_some()) {
            return None;
        }
        let (url, key) = self.left_behind().await.ok()?;
        let question =
            format!("{OTHER} has left an address ({url}) and a key in ~/{LEFT}. Use them? (y/N) ");
        let answer = self.terminal.ask(&question, false).await?;
        let is_wanted = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        is_wanted.then_some((url, key))
    }

    /// Saves address and key when the store was seen to take them.
    async fn save(&self, url: &str, key: String) -> Result<Done, Problem> {
        let store = Store::new(Arc::clone(&self.host), url, &key);
        store
            .clock()
            .await
            .map_err(|why| format!("{url} is no store that answers: {why}"))?;
        store.sessions(1).await?;
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = File {
            url: Some(url.to_string()),
            api_key: Some(key),
            ..file
        };
        config::write(&*self.host, &path, &file).await?;
        // What another store has is not in this one.
        let spool = self.spool();
        for session in spool.sessions().await.map_err(|error| error.to_string())? {
            let anew = spool.update(&session, |entry| entry.begin_anew(url));
            anew.await.map_err(|error| error.to_string())?;
        }
        let mut text = format!(
            "Logged in to {url}. Address and key are in {path}.\nNext: `opencode-sync init` adds the plugin to OpenCode; `opencode-sync push` brings past sessions."
        );
        let other = self.setup().await.ok().and_then(|setup| setup.other());
        if let Some(other) = &other {
            text += &format!("\n{other}");
        }
        Ok(Done::new(
            text,
            json!({ "ok": true, "url": url, "file": path, "other": other }),
        ))
    }

    pub(super) async fn logout(&self) -> Result<Done, Problem> {
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = File {
            url: None,
            api_key: None,
            ..file
        };
        config::write(&*self.host, &path, &file).await?;
        Ok(Done::new(
            "Address and key are forgotten.",
            json!({ "ok": true }),
        ))
    }

    pub(super) async fn status(&self) -> Result<Done, Problem> {
        let config = self.config().await?;
        let store = self.store_of(&config)?;
        let url = config.url.unwrap_or_default();
        let waiting = self.waiting().await?;
        let sum =
            |of: fn(&Entry) -> usize| waiting.iter().map(|(_, entry)| of(entry)).sum::<usize>();
        let (left, refused) = (sum(Entry::due), sum(|entry| entry.refusals().count()));
        let last = waiting
            .iter()
            .rev()
            .find_map(|(_, entry)| entry.refusals().next());
        let local = format!("{left} records wait, {refused} are not taken by the store.");
        match store.totals().await {
            Ok(totals) => {
                let text = format!(
                    "Connected to {url}.\nIn the store: {} sessions, {} messages, {} tokens, ${:.2}.\n{local}{}",
                    totals.total_sessions,
                    totals.total_messages,
                    totals.total_tokens,
                    totals.total_cost,
                    last.as_ref()
                        .map_or_else(String::new, |why| format!("\nThe last reason: {why}")),
                );
                Ok(Done::new(
                    text,
                    json!({ "ok": true, "url": url, "totals": totals, "waiting": left, "refused": refused, "lastError": last }),
                ))
            }
            Err(why) => {
                let text = format!("Not connected to {url}: {why}.\n{local}");
                let json = json!({ "ok": false, "url": url, "error": why.to_string(), "waiting": left, "refused": refused, "lastError": last });
                Ok(Done {
                    text,
                    json,
                    exit: 1,
                })
            }
        }
    }
}
