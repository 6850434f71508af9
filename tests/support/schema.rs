//! The OpenAPI document as a judge of answers: as much of JSON Schema as it uses, and a refusal of anything else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::service::Answer;

/// The document, and which of its answers have been seen.
pub(crate) struct Document {
    root: Value,
    seen: BTreeSet<String>,
}

/// Words that say nothing about a value.
const NOTES: [&str; 2] = ["description", "default"];

impl Document {
    pub(crate) fn new(root: Value) -> Self {
        Self { root, seen: BTreeSet::new() }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(target) => self.root.pointer(target.strip_prefix('#').unwrap()).expect(target),
            None => value,
        }
    }

    /// All paths with their methods, in upper case.
    pub(crate) fn operations(&self) -> BTreeSet<(String, String)> {
        let mut all = BTreeSet::new();
        for (path, item) in self.root["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|name| *name != "parameters") {
                all.insert((path.clone(), method.to_uppercase()));
            }
        }
        all
    }

    /// Answers with a status of their own that have not been seen.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (path, method) in self.operations() {
            let responses = &self.root["paths"][&path][method.to_lowercase()]["responses"];
            for status in responses.as_object().unwrap().keys().filter(|status| *status != "default") {
                let one = format!("{method} {path} {status}");
                if !self.seen.contains(&one) {
                    all.push(one);
                }
            }
        }
        all
    }

    /// Checks an answer against what the document says of it: content type, headers, body.
    pub(crate) fn judge(&mut self, method: &str, path: &str, answer: &Answer) {
        let what = format!("{method} {path} {}", answer.status);
        let responses = &self.root["paths"][path][method.to_lowercase()]["responses"];
        assert!(responses.is_object(), "{what}: not in the document");
        let response = responses.get(answer.status.to_string()).or_else(|| {
            assert!(answer.status >= 400, "{what}: a success that the document does not name");
            responses.get("default")
        });
        let response = self.resolve(response.unwrap());
        for (name, header) in response.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let header = self.resolve(header);
            let text = answer.header(&name.to_lowercase());
            assert!(text.is_some(), "{what}: no {name}");
            if header["schema"]["type"] == "integer" {
                let number = text.and_then(|text| text.parse::<u64>().ok()).map(Value::from);
                self.assert(&header["schema"], &number.unwrap_or_default(), &what);
            }
        }
        match response.get("content") {
            None => assert!(answer.body.is_empty(), "{what}: {}", answer.text()),
            Some(content) => {
                let kind = answer.header("content-type").unwrap_or_default();
                let media = content.get(kind).unwrap_or_else(|| panic!("{what}: content type {kind:?}"));
                let body = if kind.contains("json") { answer.json() } else { answer.text().into() };
                self.assert(&media["schema"], &body, &what);
            }
        }
        self.seen.insert(what);
    }

    /// Whether a value is what a schema of the document says.
    pub(crate) fn allows(&self, schema: &str, value: &Value) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        self.check(&self.root["components"]["schemas"][schema], value, "$", &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn assert(&self, schema: &Value, value: &Value, what: &str) {
        let mut problems = Vec::new();
        self.check(schema, value, "$", &mut problems);
        assert!(problems.is_empty(), "{what}: {problems:#?}\nin {value:#}");
    }

    /// Notes what is wrong; answers the members that some part of the schema spoke of.
    fn check(&self, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) -> BTreeSet<String> {
        let mut spoken = BTreeSet::new();
        let Value::Object(keywords) = schema else { panic!("{at}: not a schema: {schema}") };
        let mut wrong = |problem: String| problems.push(format!("{at}: {problem}"));
        for (keyword, rule) in keywords {
            let fine = match (keyword.as_str(), value) {
                ("type", _) => match rule {
                    Value::Array(types) => types.iter().any(|one| is_type(one, value)),
                    one => is_type(one, value),
                },
                ("const", _) => rule == value,
                ("enum", _) => rule.as_array().unwrap().contains(value),
                ("required", Value::Object(members)) => {
                    let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    let missing: Vec<_> = names.filter(|name| !members.contains_key(*name)).collect();
                    if !missing.is_empty() {
                        wrong(format!("lacks {missing:?}"));
                    }
                    true
                }
                ("minProperties", Value::Object(members)) => members.len() as u64 >= rule.as_u64().unwrap(),
                ("minItems", Value::Array(items)) => items.len() as u64 >= rule.as_u64().unwrap(),
                ("maxItems", Value::Array(items)) => items.len() as u64 <= rule.as_u64().unwrap(),
                ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().unwrap(),
                ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
                ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
                ("pattern", Value::String(text)) => matches_pattern(rule.as_str().unwrap(), text),
                ("format", Value::String(text)) => match rule.as_str().unwrap() {
                    "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
                    "uuid" => text.parse::<uuid::Uuid>().is_ok(),
                    other => panic!("format {other} is not known here"),
                },
                (
                    "required"
                    | "minProperties"
                    | "minItems"
                    | "maxItems"
                    | "minLength"
                    | "minimum"
                    | "maximum"
                    | "pattern"
                    | "format"
                    | "properties"
                    | "items"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "$ref"
                    | "allOf"
                    | "anyOf",
                    _,
                ) => true,
                (note, _) if NOTES.contains(&note) => true,
                (other, _) => panic!("{at}: the keyword {other} is not known here"),
            };
            if !fine {
                wrong(format!("{value} breaks {keyword} {rule}"));
            }
        }
        if keywords.contains_key("$ref") {
            spoken.extend(self.check(self.resolve(schema), value, at, problems));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            spoken.extend(self.check(part, value, at, problems));
        }
        if let Some(parts) = schema["anyOf"].as_array() {
            let mut why = Vec::new();
            let fits = parts.iter().any(|part| {
                let mut these = Vec::new();
                let names = self.check(part, value, at, &mut these);
                let fits = these.is_empty();
                if fits {
                    spoken.extend(names);
                }
                why.append(&mut these);
                fits
            });
            if !fits {
                problems.push(format!("{at}: fits none of anyOf: {why:?}"));
            }
        }
        if let (Value::Array(items), Some(each)) = (value, schema.get("items")) {
            for (n, item) in items.iter().enumerate() {
                self.check(each, item, &format!("{at}[{n}]"), problems);
            }
        }
        if let Value::Object(members) = value {
            self.check_members(schema, members, at, problems, &mut spoken);
        }
        spoken
    }

    fn check_members(
        &self,
        schema: &Value,
        members: &serde_json::Map<String, Value>,
        at: &str,
        problems: &mut Vec<String>,
        spoken: &mut BTreeSet<String>,
    ) {
        let named = schema["properties"].as_object();
        for (name, value) in members {
            let path = format!("{at}.{name}");
            if let Some(rule) = named.and_then(|named| named.get(name)) {
                self.check(rule, value, &path, problems);
                spoken.insert(name.clone());
                continue;
            }
            match schema.get("additionalProperties") {
                None => {}
                Some(Value::Bool(false)) => problems.push(format!("{path}: not in the document")),
                Some(rule) => {
                    self.check(rule, value, &path, problems);
                    spoken.insert(name.clone());
                }
            }
        }
        if schema.get("unevaluatedProperties") == Some(&Value::Bool(false)) {
            for name in members.keys().filter(|name| !spoken.contains(*name)) {
                problems.push(format!("{at}.{name}: not in the document"));
            }
        }
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("type {other} is not known here"),
    }
}

/// The patterns that the document has: so many characters of a set, perhaps with a number after `~`.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (text, more, most) = match pattern {
        "^[A-Za-z0-9._:-]{1,128}$" => (text, "._:-", 128),
        "^[A-Za-z0-9._:-]{1,128}(~[1-9][0-9]*)?$" => {
            let (key, number) = text.split_once('~').unwrap_or((text, "2"));
            if number.starts_with('0') || !number.chars().all(|c| c.is_ascii_digit()) {
                return false;
            }
            (key, "._:-", 128)
        }
        "^[a-zA-Z0-9_.]{1,64}$" => (text, "_.", 64),
        other => panic!("the pattern {other} is not known here"),
    };
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}
