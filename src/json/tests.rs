use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<(String, String)> {
    let problems = parse_str(text).map(|p| p.problems.into_vec()).unwrap_or_else(|p| vec![p]);
    problems.into_iter().map(|p| (p.path, p.problem)).collect()
}

fn paths(text: &str) -> Vec<String> {
    problems(text).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_tree_borrows_what_it_can() {
    let parsed = parse(br#" {"a":"plain","b":"tab\t","c":[1,-2,0.5,true,null]} "#).unwrap();
    assert!(parsed.problems.is_empty());
    let node = parsed.node;
    assert!(matches!(node.get("a"), Some(Node::String(Cow::Borrowed("plain")))));
    assert!(matches!(node.get("b"), Some(Node::String(Cow::Owned(t))) if t == "tab\t"));
    let numbers = [Number::Unsigned(1), Number::Negative(-2), Number::Float(0.5)].map(Node::Number);
    let items = [&numbers[..], &[Node::Bool(true), Node::Null]].concat();
    assert_eq!(node.get("c"), Some(&Node::Array(items)));
    assert_eq!(node.get("d"), None);
}

#[test]
fn what_is_not_json_is_told_with_line_and_column() {
    for (text, words) in [
        ("", "empty"),
        (" \n\t", "empty"),
        ("{\n  \"a\": nope}", "line 2 column"),
        ("{\"a\":1,}", "line 1 column"),
        ("{} {}", "line 1 column"),
        ("{'a':1}", "line 1 column"),
        ("\u{feff}{}", "line 1 column"),
        ("\"\\ud800\"", "line 1 column"),
        ("1e999", "number out of range"),
        ("NaN", "line 1 column"),
        ("\"line\nbreak\"", "line 2 column"),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(found[0].0, "", "{text:?}");
        assert!(found[0].1.contains(words), "{text:?}: {}", found[0].1);
    }
}

#[test]
fn bytes_that_are_not_utf8_are_told_with_their_offset() {
    for (text, offset) in [(&b"{\"a\":\"\xff\"}"[..], 6), (b"\xc3", 0), (b"{\"\xed\xa0\x80\":1}", 2)] {
        let problem = parse(text).unwrap_err();
        assert!(problem.problem.contains(&format!("byte {offset} ")), "{}", problem.problem);
    }
}

#[test]
fn duplicate_names_are_told_with_their_path_once() {
    assert_eq!(paths(r#"{"a":1,"b":{"c":1,"c":2,"c":3},"a":2}"#), ["b.c", "a"]);
    assert_eq!(paths(r#"[{"x":1},{"x":1,"\u0078":2}]"#), ["[1].x"]);
    assert!(paths(r#"{"a":{"a":{"a":1}}}"#).is_empty());
}

#[test]
fn nul_is_told_in_names_and_values() {
    assert_eq!(paths(r#"{"a":"x\u0000y","b":[{"c\u0000":1}]}"#), ["a", r"b[0].c\u{0}"]);
    assert_eq!(paths("{\"a\":\"\0\"}"), [""], "a bare control character is not JSON");
}

#[test]
fn sixty_four_levels_pass_and_one_more_does_not() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(problems(&nested(MAX_DEPTH)).is_empty());
    assert_eq!(paths(&nested(MAX_DEPTH + 1)), ["[0]".repeat(MAX_DEPTH)]);
    let objects = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
    assert_eq!(paths(&objects), [["a"; 64].join(".")]);
    for levels in [127, 128, 129, 10_000, 500_000] {
        let found = problems(&nested(levels));
        assert_eq!(found.len(), 1, "{levels}");
        assert!(found[0].1.contains("nested too deeply"), "{levels}: {}", found[0].1);
    }
    assert_eq!(paths(&format!(r#"{{"deep":{},"nul":"\u0000"}}"#, nested(10_000))).len(), 2);
}

#[test]
fn unclosed_levels_are_not_json() {
    let found = problems(&"[".repeat(10_000));
    assert!(found[0].1.contains("not valid JSON"), "{}", found[0].1);
}

#[test]
fn problems_beyond_the_cap_are_counted() {
    let text = format!("[{}]", vec![r#""\u0000""#; MAX_PROBLEMS + 5].join(","));
    let found = problems(&text);
    assert_eq!(found.len(), MAX_PROBLEMS + 1);
    assert!(found[MAX_PROBLEMS].1.starts_with("5 more problems"));
}

#[test]
fn a_path_repeats_no_long_or_unprintable_name() {
    let long = "x".repeat(10_000);
    let path = Path::Root.member(&long).to_string();
    assert_eq!(path.chars().count(), 65);
    assert_eq!(Path::Root.member("a\n\u{1b}").item(3).to_string(), r"a\u{a}\u{1b}[3]");
}

#[test]
fn a_problem_can_be_seen_from_further_up() {
    for (prefix, path, seen) in [
        ("[2]", "mediaCollection.playhead", "[2].mediaCollection.playhead"),
        ("a", "[0].b", "a[0].b"),
        ("a", "", "a"),
        ("", "b", "b"),
    ] {
        assert_eq!(Problem { path: path.into(), problem: String::new() }.under(prefix).path, seen);
    }
}

const ODD: &str = "{ \"it's\" : \"\u{2028}\u{1f600} \\u00e9 \\/ \\\" \" , \"n\\u0061me\" : [ 1.50 , 1E2 ] }";

#[test]
fn members_keep_every_byte() {
    let members = members(ODD).unwrap();
    assert_eq!(members[0].raw_name, "\"it's\"");
    assert_eq!(members[0].value, "\"\u{2028}\u{1f600} \\u00e9 \\/ \\\" \"");
    assert_eq!((&*members[1].name, members[1].raw_name), ("name", "\"n\\u0061me\""));
    assert_eq!(members[1].value, "[ 1.50 , 1E2 ]");
    assert_eq!(elements(members[1].value).unwrap(), ["1.50", "1E2"]);
}

#[test]
fn cutting_takes_any_depth_and_refuses_the_wrong_kind() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(elements(&deep).unwrap(), [&deep[1..19_999]]);
    assert_eq!(elements(" [ ] ").unwrap(), [""; 0]);
    assert_eq!(elements("\"secret\"").unwrap_err().problem, "must be an array");
    assert_eq!(members("[]").unwrap_err().problem, "must be an object");
    assert!(elements("[1,]").unwrap_err().problem.contains("line 1 column 4"));
    assert!(members("{\"a\":1}x").is_err());
}

#[test]
fn lines_skip_blanks_and_keep_the_rest() {
    let cut: Vec<&[u8]> = lines(b"\n{\"a\":1}\r\n \t\r\n [2] \n\n3").collect();
    assert_eq!(cut, [&b"{\"a\":1}\r"[..], b" [2] ", b"3"]);
    assert_eq!(lines(b"\x0c").count(), 1, "a form feed is not white space in JSON");
}

#[test]
fn compact_leaves_strings_alone() {
    let compacted = "{\"it's\":\"\u{2028}\u{1f600} \\u00e9 \\/ \\\" \",\"n\\u0061me\":[1.50,1E2]}";
    assert_eq!(compact(ODD), compacted);
    assert_eq!(compact(r#" "a \\" "#), r#""a \\""#);
    assert_eq!(compact("\u{a0}"), "\u{a0}");
}

#[test]
fn quoting_escapes() {
    let mut out = String::new();
    quote_into("a\"\\\n'\u{1f600}", &mut out);
    assert_eq!(out, "\"a\\\"\\\\\\n'\u{1f600}\"");
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ \\\\\"a-c\\n'é\u{2028}]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[ \\\\\"a-c]{0,4}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn compact_undoes_pretty(value in value()) {
        let tight = value.to_string();
        prop_assert_eq!(&compact(&serde_json::to_string_pretty(&value).unwrap()), &tight);
        prop_assert_eq!(&compact(&tight), &tight);
        prop_assert!(parse_str(&tight).unwrap().problems.is_empty());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let ours = parse_str(&text).is_ok();
        prop_assert_eq!(ours, serde_json::from_str::<serde_json::Value>(&text).is_ok());
        compact(&text);
    }
}

#[test]
fn cutting_what_was_read_before_comes_to_the_same() {
    for text in [
        ODD,
        "{}",
        " { } ",
        r#"{"a":{"b":[1,{"c":"}\"]"}],"d":""},"e":-1.5E+3,"f":[],"g":{},"h":null , "i" : true}"#,
        r#"{"\\":"\\","\"":"\\\"","n":[[[]],"",{"x":"{"}]}"#,
    ] {
        assert_eq!(cut(text).unwrap(), members(text).unwrap(), "{text}");
    }
    // Whatever else it is given, it ends and never passes the end.
    for text in [
        "",
        "[",
        "{",
        "{\"",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":{",
        "{\"a\":]}",
        "{\"a\\",
        "{,}",
        "{1:2}",
    ] {
        assert!(cut(text).is_err(), "{text}");
    }
    for end in 0..ODD.len() {
        if let Some(part) = ODD.get(..end) {
            assert!(cut(part).is_err(), "{part}");
        }
    }
}

proptest! {
    #[test]
    fn cutting_agrees_with_reading(value in proptest::collection::btree_map(".*", ".*", 0..6)) {
        let inner = serde_json::to_string(&value).unwrap();
        let text = serde_json::to_string_pretty(&serde_json::json!({ "in": value, "list": [1, inner], "text": inner })).unwrap();
        for text in [&inner, &text] {
            prop_assert_eq!(cut(text).unwrap(), members(text).unwrap());
        }
    }
}
