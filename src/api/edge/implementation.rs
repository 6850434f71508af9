//! `implementationDetails` of a caller, filled in where something is missing (contract section 3.1).

use serde_json::{Map, Value, json};

use super::Envelope;
use crate::api::Api;
use crate::config::is_uri;
use crate::event::Problem;

/// What stands for a member that is missing.
const NAME: &str = "https://ns.adobe.com/experience/edge";
const VERSION: &str = "0.0.0";
const ENVIRONMENT: &str = "server";

/// What XDM has. `device`, which the endpoint knows as well, is not among them (contract section 13, line 15).
const ENVIRONMENTS: [&str; 4] = ["browser", "app", "server", "iot"];

/// The caller's `implementationDetails` as they are sent, and what had to be done to them. `None`: there are none, the
/// service's own are sent.
pub(super) fn implementation_of(
    api: &Api,
    envelope: &Envelope<'_>,
    path: &str,
) -> (Option<String>, Vec<Problem>) {
    let Some(raw) = envelope.get("implementationDetails") else { return (None, Vec::new()) };
    let ours = api.config.borrow().implementation.environment.as_str();
    let (implementation, problems) = complete(raw, ours);
    let path = format!("{path}.implementationDetails");
    (implementation, problems.into_iter().map(|problem| problem.under(&path)).collect())
}

/// `ours` is the environment that is configured.
fn complete(raw: &str, ours: &str) -> (Option<String>, Vec<Problem>) {
    let Ok(details) = serde_json::from_str::<Map<String, Value>>(raw) else {
        let problem = "must be an object: the service's own are sent";
        return (None, vec![Problem::whole(problem)]);
    };
    let mut problems = Vec::new();
    let mut member = |name: &str, fits: &dyn Fn(&str) -> bool, missing: &str, wrong: (&str, &str)| {
        let (sent, why) = match details.get(name) {
            Some(Value::String(text)) if fits(text) => return text.clone(),
            None | Some(Value::Null) => (missing, "missing"),
            Some(_) => wrong,
        };
        problems.push(Problem { path: name.to_owned(), problem: format!("{why}: {sent} is sent") });
        sent.to_owned()
    };
    let name = member("name", &is_uri, NAME, (NAME, "must be a URI with its scheme"));
    let version = member("version", &|_| true, VERSION, (VERSION, "must be a string"));
    let known = |text: &str| ENVIRONMENTS.contains(&text);
    let environment =
        member("environment", &known, ENVIRONMENT, (ours, "must be browser, app, server or iot"));
    let known = ["name", "version", "environment"];
    let unknown = details.keys().filter(|name| !known.contains(&name.as_str()));
    problems.extend(unknown.map(|name| Problem {
        path: crate::json::shown(name),
        problem: "neither recorded nor sent: there is no such member".to_owned(),
    }));
    (Some(json!({ "name": name, "version": version, "environment": environment }).to_string()), problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s03_1_what_is_missing_is_filled_in_and_told() {
        let edge = NAME;
        let cases: [(&str, (&str, &str, &str), &[&str]); 8] = [
            (r#"{"name":"a:b","version":"1","environment":"iot"}"#, ("a:b", "1", "iot"), &[]),
            (r#"{"version":"1","environment":"browser"}"#, (edge, "1", "browser"), &["name"]),
            (r#"{"name":"a:b","environment":"server"}"#, ("a:b", "0.0.0", "server"), &["version"]),
            (r#"{"name":"a:b","version":"1"}"#, ("a:b", "1", "server"), &["environment"]),
            (r#"{"name":"a:b","version":"1","environment":"device"}"#, ("a:b", "1", "app"), &["environment"]),
            (
                r#"{"name":"no uri","version":7,"environment":null}"#,
                (edge, "0.0.0", "server"),
                &["name", "version", "environment"],
            ),
            ("{}", (edge, "0.0.0", "server"), &["name", "version", "environment"]),
            (r#"{"name":"a:b","version":"1","environment":"app","x":1}"#, ("a:b", "1", "app"), &["x"]),
        ];
        for (raw, (name, version, environment), told) in cases {
            let (sent, problems) = complete(raw, "app");
            let sent: Value = serde_json::from_str(&sent.unwrap()).unwrap();
            let expected = json!({ "name": name, "version": version, "environment": environment });
            assert_eq!(sent, expected, "{raw}");
            assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), told, "{raw}");
        }
        let (sent, problems) = complete("[1]", "app");
        assert_eq!((sent, problems.len()), (None, 1));
    }
}
