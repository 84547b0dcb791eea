//! Which requests each kind of provider gets, and where it looks for the key.

use crate::outward::config::ModelKind;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName};

/// A request that makes a model answer, or asks which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Which models there are. It is answered here, with those that are allowed.
    List,
    /// OpenAI's forms; the model is in the body.
    OpenAi,
    /// Anthropic's form; the model is in the body.
    Anthropic,
    /// Google's form; the model is in the path.
    Google(String),
}

impl Form {
    /// What a path below a provider's base asks for.
    pub(super) fn of(kind: ModelKind, rest: &str) -> Option<Form> {
        let openai = || match rest {
            "models" => Some(Form::List),
            "chat/completions" | "responses" => Some(Form::OpenAi),
            _ => None,
        };
        let anthropic = |path: &str| match path {
            "messages" | "messages/count_tokens" => Some(Form::Anthropic),
            _ => None,
        };
        let google = |path: &str| {
            let (model, call) = path.strip_prefix("models/")?.split_once(':')?;
            let is_call = ["generateContent", "streamGenerateContent"].contains(&call);
            (is_call && !model.contains('/')).then(|| Form::Google(model.into()))
        };
        match kind {
            ModelKind::OpenAiCompatible => openai(),
            ModelKind::Anthropic => anthropic(rest.strip_prefix("v1/")?),
            ModelKind::Google => google(rest.strip_prefix("v1beta/")?),
            ModelKind::Zen => openai()
                .or_else(|| anthropic(rest))
                .or_else(|| google(rest)),
        }
    }

    /// The method that it is asked with.
    pub(super) fn method(&self) -> Method {
        match self {
            Form::List => Method::GET,
            _ => Method::POST,
        }
    }

    /// The header of the key, and what is in front of it. Zen looks where the form's own provider does.
    pub(super) fn key(&self) -> (HeaderName, &'static str) {
        match self {
            Form::List | Form::OpenAi => (AUTHORIZATION, "Bearer "),
            Form::Anthropic => (HeaderName::from_static("x-api-key"), ""),
            Form::Google(_) => (HeaderName::from_static("x-goog-api-key"), ""),
        }
    }

    /// The parameters that go along. No other is needed, and one could name a key.
    pub(super) fn query(&self, query: Option<&str>) -> String {
        let known: &[&str] = match self {
            Form::Google(_) => &["alt=sse", "alt=json"],
            Form::Anthropic => &["beta=true"],
            Form::List | Form::OpenAi => &[],
        };
        let given = query.unwrap_or_default().split('&');
        match given.into_iter().find(|given| known.contains(given)) {
            Some(parameter) => format!("?{parameter}"),
            None => String::new(),
        }
    }
}

/// The package of the AI SDK by which OpenCode speaks to a provider. None where its catalog knows it for each
/// model. OpenAI's own has the Responses API, which its newer models want.
pub(super) fn package(kind: ModelKind, name: &str) -> Option<&'static str> {
    match kind {
        ModelKind::OpenAiCompatible if name == "openai" => Some("@ai-sdk/openai"),
        ModelKind::OpenAiCompatible => Some("@ai-sdk/openai-compatible"),
        ModelKind::Anthropic => Some("@ai-sdk/anthropic"),
        ModelKind::Google => Some("@ai-sdk/google"),
        ModelKind::Zen => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_requests_that_make_its_models_answer_and_no_other() {
        use ModelKind::{Anthropic, Google, OpenAiCompatible, Zen};
        let gemini = Some(Form::Google("gemini-2.5-pro".into()));
        for (kind, rest, form) in [
            (OpenAiCompatible, "chat/completions", Some(Form::OpenAi)),
            (OpenAiCompatible, "responses", Some(Form::OpenAi)),
            (OpenAiCompatible, "models", Some(Form::List)),
            (OpenAiCompatible, "embeddings", None),
            (OpenAiCompatible, "files", None),
            (OpenAiCompatible, "models/m", None),
            (OpenAiCompatible, "responses/id", None),
            (OpenAiCompatible, "v1/messages", None),
            (Anthropic, "v1/messages", Some(Form::Anthropic)),
            (Anthropic, "v1/messages/count_tokens", Some(Form::Anthropic)),
            (Anthropic, "v1/messages/batches", None),
            (Anthropic, "messages", None),
            (Anthropic, "v1/models", None),
            (
                Google,
                "v1beta/models/gemini-2.5-pro:generateContent",
                gemini.clone(),
            ),
            (
                Google,
                "v1beta/models/gemini-2.5-pro:streamGenerateContent",
                gemini.clone(),
            ),
            (Google, "v1beta/models/gemini-2.5-pro:embedContent", None),
            (Google, "v1beta/models/a/b:generateContent", None),
            (Google, "v1beta/models/a:b:generateContent", None),
            (Google, "v1beta/models", None),
            (Google, "v1beta/tunedModels/a:generateContent", None),
            (Zen, "chat/completions", Some(Form::OpenAi)),
            (Zen, "responses", Some(Form::OpenAi)),
            (Zen, "messages", Some(Form::Anthropic)),
            (Zen, "models", Some(Form::List)),
            (Zen, "models/gemini-2.5-pro:streamGenerateContent", gemini),
            (Zen, "usage", None),
        ] {
            assert_eq!(Form::of(kind, rest), form, "{kind:?} {rest}");
        }
    }

    #[test]
    fn only_known_parameters_go_along() {
        let google = Form::Google("m".into());
        for (form, query, sent) in [
            (&google, Some("key=k&alt=sse"), "?alt=sse"),
            (&google, Some("key=k"), ""),
            (&google, Some("alt=media"), ""),
            (&google, None, ""),
            (&Form::Anthropic, Some("beta=true&key=k"), "?beta=true"),
            (&Form::OpenAi, Some("api-version=1"), ""),
        ] {
            assert_eq!(form.query(query), sent, "{form:?} {query:?}");
        }
    }
}
