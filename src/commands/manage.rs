//! `afterplay retry`, `discard`, `consent` and `identity`: what a person decides.

use hyper::Method;
use serde_json::{Value, json};

use super::model::Session;
use super::sessions;
use super::{ExitError, Screen, text};
use crate::cli::{ConsentArgs, DiscardArgs, IdentityArgs, RetryArgs};
use crate::client::{Call, Client, ClientError, session_path};

/// Puts quarantined sessions back in the queue.
pub(super) async fn retry(
    client: &mut Client,
    args: &RetryArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let chosen = if args.all { quarantined(client, args.owner).await? } else { named(args) };
    if chosen.is_empty() && !args.json {
        screen.line("No quarantined sessions.")?;
    }
    let mixed = chosen.iter().any(|(_, owner)| *owner != chosen[0].1);
    let mut failed = false;
    for (key, owner) in &chosen {
        let call = Call::post(session_path(key, "/retry", *owner));
        let shown = match owner {
            Some(uid) if mixed => format!("{key} (uid {uid})"),
            _ => key.clone(),
        };
        match client.fetch::<Value>(&call).await {
            Ok(session) if args.json => screen.line(&text::json(&session.to_string()))?,
            Ok(_) => screen.line(&format!("{}: will be sent again", text::visible(&shown)))?,
            Err(error) => failed |= refused(&shown, error, screen)?,
        }
    }
    if failed { Err(ExitError::quiet(1)) } else { Ok(()) }
}

/// A session: its key, and whose it is where that is known.
type Chosen = (String, Option<u32>);

fn named(args: &RetryArgs) -> Vec<Chosen> {
    args.keys.iter().map(|key| (key.clone(), args.owner)).collect()
}

/// Each with its owner, since several users may have a session of one key.
async fn quarantined(client: &mut Client, owner: Option<u32>) -> Result<Vec<Chosen>, ClientError> {
    let all = sessions::fetch(client, Some("quarantined"), owner).await?;
    let chosen = |item: &Value| {
        let owner = item["uid"].as_u64().and_then(|uid| uid.try_into().ok());
        item["session"].as_str().map(|key| (String::from(key), owner))
    };
    Ok(all.iter().filter_map(chosen).collect())
}

/// Drops sessions and says what they were.
pub(super) async fn discard(
    client: &mut Client,
    args: &DiscardArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let mut failed = false;
    for key in &args.keys {
        match drop_one(client, key, args.owner).await {
            Ok(session) if args.json => {
                screen.line(&text::json(&json!({ "discarded": session }).to_string()))?
            }
            Ok(session) => screen.line(&dropped(key, session))?,
            Err(error) => failed |= refused(key, error, screen)?,
        }
    }
    if failed { Err(ExitError::quiet(1)) } else { Ok(()) }
}

/// Drops one session and returns what it was before.
async fn drop_one(client: &mut Client, key: &str, owner: Option<u32>) -> Result<Value, ClientError> {
    let path = session_path(key, "", owner);
    let session = client.get(&path).await?;
    client.send(&Call::new(Method::DELETE, path)).await?;
    Ok(session)
}

fn dropped(key: &str, session: Value) -> String {
    let session: Session = serde_json::from_value(session).unwrap_or_default();
    let title = session.title.map_or_else(String::new, |title| format!(" \"{}\",", text::visible(&title)));
    let events = text::count(session.events, "event");
    format!("{}: discarded{title} {}, {events}", text::visible(key), text::visible(&session.state))
}

/// A refusal concerns one key and is said; any other trouble ends the command.
fn refused(key: &str, error: ClientError, screen: &mut Screen<'_>) -> Result<bool, ExitError> {
    match error {
        ClientError::Problem(refusal) => {
            screen.complain(&format!("{key}: {refusal}"));
            Ok(true)
        }
        other => Err(other.into()),
    }
}

/// Shows or sets the consent.
pub(super) async fn consent(
    client: &mut Client,
    args: &ConsentArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    const PATH: &str = "/v1/consent";
    let call = match args.consent {
        Some(choice) => Call::new(Method::PUT, PATH).json(json!({ "consent": choice.word() }).to_string()),
        None => Call::get(PATH),
    };
    let answer: Value = client.fetch(&call).await?;
    if args.json {
        screen.line(&answer.to_string())?;
        return Ok(());
    }
    let consent = answer["consent"].as_str().unwrap_or_default();
    let meaning = match consent {
        "in" => "recorded sessions are uploaded",
        "pending" => "sessions are recorded and held back",
        "out" => "what was stored is erased and nothing more is recorded",
        _ => "unknown to this version",
    };
    screen.line(&format!("{}: {meaning}", text::visible(consent)))?;
    Ok(())
}

/// Shows or replaces the identity of the device.
pub(super) async fn identity(
    client: &mut Client,
    args: &IdentityArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let call = if args.reset { Call::post("/v1/identity/reset") } else { Call::get("/v1/identity") };
    let answer: Value = client.fetch(&call).await?;
    match (answer["namespace"].as_str(), answer["id"].as_str()) {
        (Some(namespace), Some(id)) if !args.json => {
            screen.line(&format!("{} {}", text::visible(namespace), text::visible(id)))?;
            if args.reset {
                screen.line("Sessions from now on start under this identity; earlier ones keep theirs.")?;
            }
        }
        _ => screen.line(&answer.to_string())?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::commands::fake::{Act, Fake, answer, problem};

    fn service() -> Fake {
        Fake::start(|line, body| match line {
            "GET /v1/sessions?limit=500&state=quarantined" => {
                answer(200, json!({"sessions": [{"session": "a"}, {"session": "b"}], "next": null}))
            }
            "POST /v1/sessions/a/retry" | "POST /v1/sessions/b/retry" => {
                answer(200, json!({"session": "a", "state": "completed"}))
            }
            "GET /v1/sessions/a" => answer(
                200,
                json!({"session": "a", "state": "quarantined", "title": "The \u{7}Tide", "events": 12}),
            ),
            "DELETE /v1/sessions/a" => Act::Answer(204, Vec::new(), Vec::new()),
            "GET /v1/consent" => answer(200, json!({"consent": "in"})),
            "PUT /v1/consent" => Act::Answer(200, Vec::new(), body.to_vec()),
            "GET /v1/identity" => answer(200, json!({"namespace": "FPID", "id": "old"})),
            "POST /v1/identity/reset" => answer(200, json!({"namespace": "FPID", "id": "new"})),
            _ => problem(404, "unknown_session"),
        })
    }

    #[tokio::test]
    async fn each_key_is_retried_and_a_refused_one_fails_the_command() {
        let ran = service().run(&["retry", "a", "x", "b"]).await;
        assert_eq!(ran.code, 1);
        assert_eq!(ran.out, "a: will be sent again\nb: will be sent again\n");
        assert_eq!(ran.err, "afterplay: x: the service refused: not so (unknown_session, status 404)\n");
        let fake = service();
        let ran = fake.run(&["retry", "--all", "--json"]).await;
        assert_eq!((ran.code, ran.out.lines().count()), (0, 2));
        assert_eq!(fake.lines()[1..], ["POST /v1/sessions/a/retry", "POST /v1/sessions/b/retry"]);
    }

    #[tokio::test]
    async fn each_user_gets_back_what_is_quarantined_of_theirs() {
        let fake = Fake::start(|line, _| match line.split('?').next().unwrap() {
            "GET /v1/sessions" => answer(
                200,
                json!({"sessions": [{"session": "a", "uid": 0}, {"session": "a", "uid": 7}], "next": null}),
            ),
            _ => answer(200, json!({"session": "a", "state": "completed"})),
        });
        let ran = fake.run(&["retry", "--all"]).await;
        assert_eq!(ran.out, "a (uid 0): will be sent again\na (uid 7): will be sent again\n");
        assert_eq!(
            fake.lines()[1..],
            ["POST /v1/sessions/a/retry?owner=0", "POST /v1/sessions/a/retry?owner=7"]
        );
        fake.run(&["retry", "--all", "--owner", "7"]).await;
        assert_eq!(fake.lines()[3], "GET /v1/sessions?limit=500&state=quarantined&owner=7");
    }

    #[tokio::test]
    async fn what_is_dropped_is_said() {
        let ran = service().run(&["discard", "a", "x"]).await;
        assert_eq!(ran.code, 1);
        assert_eq!(ran.out, "a: discarded \"The \\u{7}Tide\", quarantined, 12 events\n");
        assert!(ran.err.contains("x: the service refused"), "{}", ran.err);
        let ran = service().run(&["discard", "a", "--json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["discarded"]["events"], 12);
    }

    #[tokio::test]
    async fn consent_is_shown_and_set() {
        assert_eq!(service().run(&["consent"]).await.out, "in: recorded sessions are uploaded\n");
        let fake = service();
        let ran = fake.run(&["consent", "out"]).await;
        assert_eq!(ran.out, "out: what was stored is erased and nothing more is recorded\n");
        assert_eq!(fake.seen()[0].body, br#"{"consent":"out"}"#);
        assert_eq!(service().run(&["consent", "pending", "--json"]).await.out, "{\"consent\":\"pending\"}\n");
    }

    #[tokio::test]
    async fn the_identity_is_shown_and_replaced() {
        assert_eq!(service().run(&["identity"]).await.out, "FPID old\n");
        assert!(service().run(&["identity", "--reset"]).await.out.starts_with("FPID new\n"));
        let ran = service().run(&["identity", "--json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["id"], "old");
    }
}
