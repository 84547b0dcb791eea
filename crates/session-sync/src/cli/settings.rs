//! Settings: `config`, `config get`, `config set`.

use super::{Cli, Done, Problem};
use crate::config::{self, SETTINGS, Source};
use serde_json::json;

impl Cli {
    /// Names, values and sources of all settings. A key is cut.
    pub(super) async fn values(
        &self,
    ) -> Result<Vec<(&'static str, String, &'static str)>, Problem> {
        let file = config::read(&*self.host, &self.config_path()?).await?;
        let config = config::config(&file, |name| self.host.env(name))?;
        let whole = serde_json::to_value(&file).expect("settings are JSON");
        let value = |&(name, default, _): &(&'static str, &'static str, &'static str)| {
            let set = whole.pointer(&format!("/{}", name.replace('.', "/")));
            let from_file = set.map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_string)
            });
            let (value, source) = match name {
                "url" => (config.url.clone(), config.sources.0),
                "apiKey" => (config.key.as_deref().map(cut), config.sources.1),
                _ if from_file.is_some() => (from_file, Source::File),
                _ => (None, Source::Default),
            };
            (name, value.unwrap_or_else(|| default.into()), source.name())
        };
        Ok(SETTINGS.iter().map(value).collect())
    }

    pub(super) async fn settings(&self) -> Result<Done, Problem> {
        let values = self.values().await?;
        let mut text = format!("{}\n\n", self.config_path()?);
        for (name, value, source) in &values {
            text += &format!("{name:<20} {value}  ({source})\n");
        }
        let json = values
            .iter()
            .map(|(name, value, source)| json!({ "name": name, "value": value, "source": source }));
        Ok(Done::new(text, json.collect()))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Done, Problem> {
        let values = self.values().await?;
        let found = values.into_iter().find(|(known, ..)| *known == name);
        let (_, value, source) = found.ok_or_else(|| unknown(name))?;
        Ok(Done::new(
            value.clone(),
            json!({ "name": name, "value": value, "source": source }),
        ))
    }

    pub(super) async fn set(&self, name: &str, value: &str) -> Result<Done, Problem> {
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = config::set(&file, name, value)?;
        config::write(&*self.host, &path, &file).await?;
        Ok(Done::new(
            format!("{name} is set in {path}."),
            json!({ "ok": true, "name": name }),
        ))
    }
}

fn unknown(name: &str) -> Problem {
    let names: Vec<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
    Problem::Usage(format!(
        "there is no setting {name:?}; there are {}",
        names.join(", ")
    ))
}

/// Enough of a key to know it again.
fn cut(key: &str) -> String {
    let start: String = key.chars().take(8).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_whole() {
        assert_eq!(cut("osk_AbCdEfGhIjKlMnOp"), "osk_AbCd…");
    }
}
