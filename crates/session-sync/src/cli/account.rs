//! The store's address and key: `login`, `logout`, `status`.

use super::{Cli, Done, Problem};
use crate::config::{self, File};
use crate::spool::Entry;
use crate::store::{Store, base_url};
use serde_json::json;
use std::rc::Rc;

impl Cli {
    pub(super) async fn login(&self, args: &[&str]) -> Result<Done, Problem> {
        let terminal = &self.terminal;
        let given = match args {
            [] => self.host.env(config::URL_VARIABLE),
            ["--url", url] => Some(url.to_string()),
            _ => {
                return Err(Problem::Usage(
                    "login takes --url URL and nothing else".into(),
                ));
            }
        };
        let url = match given {
            Some(url) => url,
            None => terminal
                .ask("Address of the store (https://NAME.convex.cloud): ", false)
                .await
                .ok_or("name the store with --url URL: nobody can be asked here".to_string())?,
        };
        let url = base_url(&url)?;
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
        if key.is_empty() {
            let why = format!(
                "no key was given: pipe it in, or set {}",
                config::KEY_VARIABLE
            );
            return Err(Problem::Failed(why));
        }
        let store = Store::new(Rc::clone(&self.host), &url, &key);
        store
            .clock()
            .await
            .map_err(|why| format!("{url} is no store that answers: {why}"))?;
        store.sessions(1).await?;
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = File {
            url: Some(url.clone()),
            api_key: Some(key),
            ..file
        };
        config::write(&*self.host, &path, &file).await?;
        let text = format!(
            "Logged in to {url}. Address and key are in {path}.\nNext: `opencode-sync init` adds the plugin to OpenCode; `opencode-sync push` brings past sessions."
        );
        Ok(Done::new(
            text,
            json!({ "ok": true, "url": url, "file": path }),
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
