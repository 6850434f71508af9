//! Whose session it is: the rules of an `identityMap` (contract section 5).

use uuid::{Uuid, Variant, Version};

use crate::json::{Node, Path, Problems};

/// The namespace of a first-party device id.
const FPID: &str = "FPID";

const STATES: [&str; 3] = ["ambiguous", "authenticated", "loggedOut"];

/// Checks a map from namespace to identities.
pub(super) fn check(map: &Node<'_>, path: &Path<'_>, problems: &mut Problems) {
    let Node::Object(namespaces) = map else {
        return problems.push(path, format!("must be an object, not {}", map.kind()));
    };
    let mut primaries = 0;
    for (namespace, items) in namespaces {
        let path = path.member(namespace);
        if namespace.is_empty() {
            problems.push(&path, "the namespace must not be empty");
        }
        match items {
            Node::Array(items) if items.is_empty() => {
                problems.push(&path, "must hold at least one identity");
            }
            Node::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    check_item(namespace, item, &path.item(n), &mut primaries, problems);
                }
            }
            other => problems.push(&path, format!("must be an array of identities, not {}", other.kind())),
        }
    }
    if primaries == 0 {
        problems.push(path, "exactly one identity must have \"primary\": true, none has");
    }
}

fn check_item(
    namespace: &str,
    item: &Node<'_>,
    path: &Path<'_>,
    primaries: &mut u32,
    problems: &mut Problems,
) {
    if !matches!(item, Node::Object(_)) {
        return problems.push(path, format!("must be an object, not {}", item.kind()));
    }
    let at = path.member("id");
    match item.get("id") {
        None => problems.push(&at, "missing: must be a string that is not empty"),
        Some(Node::String(id)) if id.is_empty() => problems.push(&at, "must not be empty"),
        Some(Node::String(id)) if namespace == FPID && !is_uuid_v4(id) => {
            problems
                .push(&at, "an FPID must be a UUID of version 4, like 5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10");
        }
        Some(Node::String(_)) => {}
        Some(other) => {
            problems.push(&at, format!("must be a string that is not empty, not {}", other.kind()))
        }
    }
    match item.get("authenticatedState") {
        None => {}
        Some(Node::String(state)) if STATES.contains(&&**state) => {}
        Some(_) => {
            problems.push(
                &path.member("authenticatedState"),
                format!("must be one of `{}`", STATES.join("`, `")),
            );
        }
    }
    let at = path.member("primary");
    match item.get("primary") {
        None | Some(Node::Bool(false)) => {}
        Some(Node::Bool(true)) => {
            *primaries += 1;
            if *primaries > 1 {
                problems.push(&at, "exactly one identity must have \"primary\": true, this is one more");
            }
        }
        Some(other) => problems.push(&at, format!("must be true or false, not {}", other.kind())),
    }
}

/// Whether it is a UUID of version 4 in the usual form with hyphens.
pub fn is_uuid_v4(text: &str) -> bool {
    text.len() == 36
        && Uuid::try_parse(text)
            .is_ok_and(|id| id.get_version() == Some(Version::Random) && id.get_variant() == Variant::RFC4122)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::{Parsed, parse_str};

    const DEVICE: &str = "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10";

    #[test]
    fn identity_maps_have_exactly_one_primary_and_proper_ids() {
        let one = |item: Value| json!({"FPID": [item]});
        for (map, wrong) in [
            (one(json!({"id": DEVICE, "primary": true})), &[][..]),
            (one(json!({"id": DEVICE, "primary": true, "authenticatedState": "loggedOut", "xid": "1"})), &[]),
            (
                json!({"email": [{"id": "a@b", "primary": true}], "FPID": [{"id": DEVICE, "primary": false}]}),
                &[],
            ),
            (json!(null), &[""]),
            (json!({}), &[""]),
            (json!({"email": []}), &[".email", ""]),
            (json!({"email": {"id": "a"}}), &[".email", ""]),
            (json!({"": [{"id": "a", "primary": true}]}), &["."]),
            (json!({"email": ["a@b"]}), &[".email[0]", ""]),
            (one(json!({"id": DEVICE})), &[""]),
            (one(json!({"primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": "", "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": 7, "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": DEVICE.replace("-4f", "-1f"), "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": DEVICE.replace("-9a", "-ca"), "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": DEVICE.replace('-', ""), "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": format!("{{{DEVICE}}}"), "primary": true})), &[".FPID[0].id"]),
            (one(json!({"id": DEVICE, "primary": "true"})), &[".FPID[0].primary", ""]),
            (
                one(json!({"id": DEVICE, "primary": true, "authenticatedState": "maybe"})),
                &[".FPID[0].authenticatedState"],
            ),
            (
                json!({"email": [{"id": "a", "primary": true}, {"id": "b", "primary": true}]}),
                &[".email[1].primary"],
            ),
            (
                json!({"a": [{"id": "a", "primary": true}], "b": [{"id": "b", "primary": true}]}),
                &[".b[0].primary"],
            ),
        ] {
            let text = map.to_string();
            let Parsed { node, mut problems } = parse_str(&text).unwrap();
            check(&node, &Path::Root.member("identityMap"), &mut problems);
            let expected: Vec<String> = wrong.iter().map(|w| format!("identityMap{w}")).collect();
            let paths: Vec<String> = problems.into_vec().into_iter().map(|p| p.path).collect();
            assert_eq!(paths, expected, "{map}");
            assert_eq!(crate::event::check_identity_map(&text).is_ok(), wrong.is_empty());
        }
    }
}
