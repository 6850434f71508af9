//! Whatever an endpoint may answer, the judgement is bounded and sane.

use proptest::prelude::*;

use super::*;

/// Bodies near what Adobe sends, so that chance reaches the inner parts.
fn near_adobe() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("207".to_owned()),
        Just("-1e400".to_owned()),
        Just("\"EXEG-0003-400\"".to_owned()),
        Just("\"va-edge-0400-400\"".to_owned()),
        Just("\"media-analytics:new-session\"".to_owned()),
        "[a-z0-9-]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        let name = prop_oneof![
            Just("requestId"),
            Just("handle"),
            Just("errors"),
            Just("warnings"),
            Just("type"),
            Just("status"),
            Just("title"),
            Just("detail"),
            Just("report"),
            Just("details"),
            Just("payload"),
            Just("name"),
            Just("reason"),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((name, inner), 0..6).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn any_header() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("\\PC{0,40}")
}

proptest! {
    #[test]
    fn whatever_comes_is_judged(
        status: u16,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        near in near_adobe(),
        headers in (any_header(), any_header(), any_header(), any_header(), any_header()),
        truncated: bool,
        identity_from_configuration: bool,
        now_ms: i64,
    ) {
        let context = Context { identity_from_configuration, now_ms };
        for body in [bytes, near.into_bytes()] {
            let (content_encoding, retry_after, date, location, request_id) = headers.clone();
            let age = date.clone();
            let outcome = Outcome::Answer(Answer {
                status, content_encoding, retry_after, date, age, location, request_id, body, truncated, content_type: None, between: (0, 0),
            });
            let judgement = judge(&outcome, &context);
            prop_assert!(judgement.detail.chars().count() <= DETAIL);
            prop_assert!(!judgement.detail.chars().any(char::is_control));
            prop_assert!(!judgement.reason.is_empty() && judgement.reason.len() <= 64);
            if judgement.verdict == Verdict::Delivered {
                prop_assert!((200..300).contains(&status), "only a success delivers");
                prop_assert_eq!(judgement.evidence, Evidence::Answered);
            }
        }
    }
}
