//! What OpenCode will make of a question: the user's rules, read as it reads them. The last rule
//! that matches decides; where none does, the user is asked.
//!
//! Nothing is allowed or refused by this: OpenCode judges when it is asked. This only says whether
//! it is worth looking at the sandbox's files first, for what the question must show.

use crate::question::Permission;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// One rule of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rule {
    permission: String,
    pattern: String,
    action: String,
}

/// The rules that hold for an agent in a session; none if they are not to be had. `known` is what
/// OpenCode says: its agents, and the session.
pub fn of(agent: &str, known: &Value) -> Option<Vec<Rule>> {
    let agents = known.get("agents")?.as_array()?;
    let agent = agents
        .iter()
        .find(|known| known.get("name").and_then(Value::as_str) == Some(agent))?;
    let mut rules: Vec<Rule> = Deserialize::deserialize(agent.get("permission")?).ok()?;
    match known.get("session")?.get("permission") {
        None | Some(Value::Null) => {}
        Some(own) => rules.extend(Vec::<Rule>::deserialize(own).ok()?),
    }
    Some(rules)
}

/// What users have answered with "always" in this instance. OpenCode keeps it as long.
#[derive(Debug, Default)]
pub struct Approvals {
    /// Open questions: the rules that an "always" would add.
    open: HashMap<String, Vec<Rule>>,
    given: Vec<Rule>,
}

impl Approvals {
    /// `permission.asked`: a question that is open now.
    pub fn asked(&mut self, question: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_string);
        let (Some(id), Some(permission), Some(always)) = (
            text(&question["id"]),
            text(&question["permission"]),
            question["always"].as_array(),
        ) else {
            return;
        };
        let rule = |pattern| Rule {
            permission: permission.clone(),
            pattern,
            action: "allow".into(),
        };
        let rules = always.iter().filter_map(text).map(rule).collect();
        self.open.insert(id, rules);
    }

    /// `permission.replied`: its answer.
    pub fn replied(&mut self, answer: &Value) {
        let id = answer["requestID"].as_str().unwrap_or_default();
        if let Some(rules) = self.open.remove(id)
            && answer["reply"] == "always"
        {
            self.given.extend(rules);
        }
    }

    /// True if no rule and no answer stands against any of the questions.
    pub fn allow(&self, rules: &[Rule], questions: &[Permission]) -> bool {
        questions.iter().all(|question| {
            question.patterns.iter().all(|pattern| {
                rules
                    .iter()
                    .chain(&self.given)
                    .rfind(|rule| {
                        matches(&question.permission, &rule.permission)
                            && matches(pattern, &rule.pattern)
                    })
                    .is_some_and(|rule| rule.action == "allow")
            })
        })
    }
}

/// OpenCode's wildcard: `*` is any text, `?` any character, and ` *` at the end also nothing.
fn matches(text: &str, pattern: &str) -> bool {
    let chars = |text: &str| text.replace('\\', "/").chars().collect::<Vec<char>>();
    let (text, pattern) = (chars(text), chars(pattern));
    let bare = pattern.strip_suffix(&[' ', '*']);
    glob(&text, &pattern) || bare.is_some_and(|bare| glob(&text, bare))
}

fn glob(text: &[char], pattern: &[char]) -> bool {
    let (mut t, mut p) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (t, p) = (taken + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wildcard_is_opencodes() {
        for (text, pattern, expected) in [
            ("a", "*", true),
            ("", "*", true),
            ("src/a/b.rs", "src/*.rs", true),
            ("src", "src/*", false),
            ("git", "git *", true),
            ("git status", "git *", true),
            ("gitk", "git *", false),
            ("git\nx", "git*", true),
            ("ab", "a?", true),
            ("a", "a?", false),
            ("a.env", "*.env", true),
            ("axenv", "*.env", false),
            ("a\\b", "a/b", true),
            ("aXbXc", "a*b*c", true),
            ("ab", "a*b*c", false),
            ("a (b) [c]", "a (b) [c]", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    fn question(permission: &str, patterns: &[&str]) -> Permission {
        Permission {
            permission: permission.into(),
            patterns: patterns.iter().map(|p| p.to_string()).collect(),
            always: vec!["*".into()],
            metadata: json!({}),
        }
    }

    #[test]
    fn the_last_rule_decides_and_an_always_comes_after_all() {
        let known = json!({
            "agents": [
                { "name": "other", "permission": [] },
                { "name": "build", "permission": [
                    { "permission": "*", "pattern": "*", "action": "allow" },
                    { "permission": "edit", "pattern": "*", "action": "ask" },
                    { "permission": "edit", "pattern": "src/*", "action": "allow" },
                ] },
            ],
            "session": { "permission": [{ "permission": "edit", "pattern": "src/x", "action": "deny" }] },
        });
        let rules = of("build", &known).expect("rules");
        let mut approvals = Approvals::default();
        for (patterns, expected) in [
            (&["src/a"][..], true),
            (&["a"], false),
            (&["src/a", "a"], false),
            (&["src/x"], false),
        ] {
            let question = [question("edit", patterns)];
            assert_eq!(approvals.allow(&rules, &question), expected, "{patterns:?}");
        }
        assert!(approvals.allow(&rules, &[question("read", &["x"])]));
        assert!(!approvals.allow(
            &of("other", &known).expect("none"),
            &[question("read", &["x"])]
        ));
        for (reply, expected) in [("once", false), ("reject", false), ("always", true)] {
            approvals.asked(&json!({ "id": "1", "permission": "edit", "always": ["*"] }));
            approvals.replied(&json!({ "requestID": "1", "reply": reply }));
            let question = [question("edit", &["src/x"])];
            assert_eq!(approvals.allow(&rules, &question), expected, "{reply}");
        }
    }

    #[test]
    fn rules_that_cannot_be_read_are_no_rules() {
        let agents = json!([{ "name": "a", "permission": [{ "permission": "*" }] }]);
        for known in [
            json!(null),
            json!({ "agents": [], "session": {} }),
            json!({ "agents": agents, "session": {} }),
            json!({ "agents": [{ "name": "a", "permission": [] }] }),
            json!({ "agents": [{ "name": "a", "permission": [] }], "session": { "permission": "x" } }),
        ] {
            assert_eq!(of("a", &known), None, "{known}");
        }
    }
}
