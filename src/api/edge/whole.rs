//! `POST /ee/va/v1/downloaded`: whole sessions at once.

use bytes::Bytes;

use super::implementation::implementation_of;
use super::{Envelope, Reply, record};
use crate::api::Api;
use crate::api::body::{MAX_EVENT, owned_event, shorten};
use crate::api::problem::ApiError;
use crate::api::share::Slice;
use crate::event::{self, EventType, Problem};
use crate::journal::{Append, NewEvent, Scope};
use crate::json::{self, MAX_PROBLEMS};
use crate::session::{Key, Why};

/// The members of an `xdm` that are looked at. Of these `timestamp` is replaced by the time of the first attempt.
const MEMBERS: [&str; 5] =
    ["eventType", "identityMap", "implementationDetails", "mediaDownloadedEvents", "timestamp"];

/// Records each session and completes it.
pub(super) async fn import(api: &Api, scope: Scope, bytes: &Bytes, envelopes: &[Envelope<'_>]) -> Reply {
    let mut appends = Vec::new();
    let mut problems = Vec::new();
    for (at, envelope) in envelopes.iter().enumerate() {
        let path = format!("events[{at}].xdm");
        if !matches!(envelope.get("eventType").map(json::string), Some(Ok(kind)) if kind == "media.downloaded")
        {
            problems.push(Problem {
                path: format!("{path}.eventType"),
                problem: "must be media.downloaded".into(),
            });
        }
        let identity = match envelope.get("identityMap").map(event::check_identity_map) {
            None => None,
            Some(Ok(map)) => Some(map),
            Some(Err(wrong)) => {
                let path = format!("{path}.identityMap");
                problems.extend(wrong.into_iter().map(|problem| problem.under(&path)));
                None
            }
        };
        if problems.len() > MAX_PROBLEMS {
            break;
        }
        match downloaded_events(envelope, &path, bytes).await? {
            Ok((mut events, odd)) => {
                if let (Some(first), Some(identity)) = (events.first_mut(), identity) {
                    first.identity = Some(identity);
                }
                let (implementation, of_implementation) = implementation_of(api, envelope, &path);
                let nobody = envelope.get("identityMap").is_none().then(|| Problem {
                    path: format!("{path}.identityMap"),
                    problem: "missing: the device's own identity is sent".into(),
                });
                let beside = left_out(envelope, &path).into_iter().chain(nobody);
                let mut warnings: Vec<Problem> = beside.chain(of_implementation).chain(odd).collect();
                shorten(&mut warnings);
                appends.push(Append {
                    complete: Some(Why::Import),
                    implementation,
                    warnings,
                    batch: true,
                    prefix: format!("{path}.mediaDownloadedEvents"),
                    ..Append::new(scope.uid, Key::random(), events)
                });
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    if !problems.is_empty() {
        shorten(&mut problems);
        return Err(ApiError::invalid(problems).into());
    }
    record(api, appends).await
}

/// What a downloaded session does not take along, each member by its path (contract sections 3 and 3.1).
fn left_out(envelope: &Envelope<'_>, path: &str) -> Vec<Problem> {
    let in_xdm = envelope.members.keys().filter(|name| !MEMBERS.contains(&name.as_str()));
    let mut paths: Vec<String> = in_xdm.map(|name| format!("{path}.{}", json::shown(name))).collect();
    paths.sort_unstable();
    let told = |path: String| {
        let why = match path.rsplit('.').next().unwrap_or_default() {
            "_id" => "the back end gives its own",
            "_data" => "it is not known whether the endpoint takes it",
            "customMetadata" => "it belongs in the `mediaCollection` of a start of session, ad or chapter",
            "mediaCollection" => "each event of a downloaded session has its own",
            _ => "a downloaded session has no such member",
        };
        Problem { path, problem: format!("neither recorded nor sent: {why}") }
    };
    envelope.beside.iter().cloned().chain(paths).map(told).collect()
}

/// Whether a downloaded session could be recorded as far as its text goes.
pub(super) async fn is_readable(envelope: &Envelope<'_>, bytes: &Bytes) -> bool {
    left_out(envelope, "xdm").len() <= MAX_PROBLEMS
        && downloaded_events(envelope, "xdm", bytes).await.is_ok_and(|found| found.is_ok())
}

type Events = (Vec<NewEvent>, Vec<Problem>);

/// The events of a session and what is odd about them, or what is wrong with them.
async fn downloaded_events(
    envelope: &Envelope<'_>,
    path: &str,
    whole: &Bytes,
) -> Result<Result<Events, Vec<Problem>>, ApiError> {
    let path = format!("{path}.mediaDownloadedEvents");
    let at_list = |problem: &str| Ok(Err(vec![Problem { path: path.clone(), problem: problem.to_owned() }]));
    let Some(list) = envelope.get("mediaDownloadedEvents") else { return at_list("is required") };
    let list = match json::elements(list) {
        Ok(list) if list.is_empty() => return at_list("must hold at least one event"),
        Ok(list) => list,
        Err(problem) => return Ok(Err(vec![problem.under(&path)])),
    };
    let mut events = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut slice = Slice::default();
    for (at, raw) in list.into_iter().enumerate() {
        slice.add(raw.len()).await;
        let path = format!("{path}[{at}]");
        if raw.len() > MAX_EVENT {
            return Err(ApiError {
                problems: vec![Problem { path, problem: format!("has {} bytes", raw.len()) }],
                ..ApiError::too_large(format!("An event may have at most {MAX_EVENT} bytes."))
            });
        }
        match event::check(raw.as_bytes()) {
            Ok(checked) if at == 0 && checked.kind != EventType::SessionStart => problems.push(Problem {
                path: format!("{path}.mediaEventType"),
                problem: "the first event of a session must be media.sessionStart".into(),
            }),
            Ok(checked) if checked.said_ms.is_none() => problems.push(Problem {
                path: format!("{path}.mediaEventTimestamp"),
                problem: "is required in a downloaded session".into(),
            }),
            Ok(mut checked) => {
                let odd = checked.warnings.drain(..).map(|warning| warning.under(&path));
                warnings.extend(odd.take((MAX_PROBLEMS + 1).saturating_sub(warnings.len())));
                let body = whole.slice_ref(checked.body.as_bytes());
                events.push(owned_event(checked, body));
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.under(&path))),
        }
        if problems.len() > MAX_PROBLEMS {
            break;
        }
    }
    Ok(if problems.is_empty() { Ok((events, warnings)) } else { Err(problems) })
}
