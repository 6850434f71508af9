//! Cutting a text into raw parts that keep every byte, and closing the gaps between them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Name, Problem, not_json, trim};

/// A member of an object, its text untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, its escapes resolved.
    pub name: Cow<'a, str>,
    /// The name as it is written, with its quotes.
    pub raw_name: &'a str,
    /// The value as it is written.
    pub value: &'a str,
}

/// Members of an object and elements of an array that are taken: a request that holds as many events as fit has less,
/// and each costs many times the bytes of the shortest.
pub const MAX_PARTS: usize = 20_000;

/// Cuts an object into its members, one level deep.
pub fn members(object: &str) -> Result<Vec<Member<'_>>, Problem> {
    struct Cut;
    impl<'de> Visitor<'de> for Cut {
        type Value = Option<Vec<Member<'de>>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                if members.len() == MAX_PARTS {
                    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                let raw_name = name.get();
                members.push(Member {
                    name: string(raw_name).map_err(serde::de::Error::custom)?,
                    raw_name,
                    value: value.get(),
                });
            }
            Ok(Some(members))
        }
    }

    expect_opening(object, '{', "an object")?;
    let mut source = serde_json::Deserializer::from_str(object);
    let members = source.deserialize_map(Cut).map_err(not_json)?;
    source.end().map_err(not_json)?;
    members.ok_or_else(|| Problem::whole(format!("must have at most {MAX_PARTS} members")))
}

/// Cuts an array into its elements, byte for byte.
pub fn elements(array: &str) -> Result<Vec<&str>, Problem> {
    struct Cut;
    impl<'de> Visitor<'de> for Cut {
        type Value = Option<Vec<&'de str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                if elements.len() == MAX_PARTS {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                elements.push(element.get());
            }
            Ok(Some(elements))
        }
    }

    expect_opening(array, '[', "an array")?;
    let mut source = serde_json::Deserializer::from_str(array);
    let elements = source.deserialize_seq(Cut).map_err(not_json)?;
    source.end().map_err(not_json)?;
    elements.ok_or_else(|| Problem::whole(format!("must have at most {MAX_PARTS} elements")))
}

/// Cuts JSON lines into the lines that are not blank.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', text).chain([text.len()]);
    let lines = ends.map(move |end| &text[std::mem::replace(&mut begin, end + 1)..end]);
    lines.filter(|line| line.iter().any(|b| !matches!(b, b' ' | b'\t' | b'\r')))
}

/// As [`members`], of a text that was read as JSON before: finds where values end and reads none of them.
pub fn cut(object: &str) -> Result<Vec<Member<'_>>, Problem> {
    let mut rest = Rest { text: object, at: 0 };
    let mut members = Vec::new();
    rest.white_space();
    if !rest.take(b'{') {
        return Err(Problem::whole("must be an object"));
    }
    loop {
        rest.white_space();
        if rest.take(b'}') {
            return Ok(members);
        }
        if !members.is_empty() && !rest.take(b',') {
            return Err(not_followed());
        }
        rest.white_space();
        let raw_name = rest.value()?;
        rest.white_space();
        if !raw_name.starts_with('"') || !rest.take(b':') {
            return Err(not_followed());
        }
        rest.white_space();
        members.push(Member { name: string(raw_name)?, raw_name, value: rest.value()? });
    }
}

fn not_followed() -> Problem {
    Problem::whole("not valid JSON")
}

/// What is left of a text.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white_space(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.next() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Passes a string whose opening quote is next.
    fn pass_string(&mut self) -> Result<(), Problem> {
        self.at += 1;
        loop {
            let left = self.text.as_bytes().get(self.at..).ok_or_else(not_followed)?;
            let found = memchr::memchr2(b'"', b'\\', left).ok_or_else(not_followed)?;
            self.at += found + 1;
            if left.get(found) == Some(&b'"') {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// Passes the next value and gives its text.
    fn value(&mut self) -> Result<&'a str, Problem> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match self.next().ok_or_else(not_followed)? {
                b'"' => self.pass_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or_else(not_followed)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.pass_word()?,
            }
            if depth == 0 {
                return self.text.get(from..self.at).ok_or_else(not_followed);
            }
        }
    }

    /// Passes a number, `true`, `false` or `null`.
    fn pass_word(&mut self) -> Result<(), Problem> {
        let from = self.at;
        while matches!(self.next(), Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(not_followed()) }
    }
}

/// The value of a raw string, quotes included.
pub fn string(raw: &str) -> Result<Cow<'_, str>, Problem> {
    let plain = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    if let Some(plain) =
        plain.filter(|plain| plain.bytes().all(|byte| byte >= b' ' && !b"\"\\".contains(&byte)))
    {
        return Ok(Cow::Borrowed(plain));
    }
    Name.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(not_json)
}

/// serde's own words for a wrong type would repeat the value.
fn expect_opening(text: &str, opening: char, what: &str) -> Result<(), Problem> {
    if trim(text).starts_with(opening) { Ok(()) } else { Err(Problem::whole(format!("must be {what}"))) }
}

/// The text without insignificant white space; every other byte stays.
pub fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    compact_into(raw, &mut out);
    out
}

/// As [`compact`], appended to a text.
pub fn compact_into(raw: &str, out: &mut String) {
    let (mut in_string, mut escaped, mut from) = (false, false, 0);
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                out.push_str(&raw[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push_str(&raw[from..]);
}

/// Appends a text as a JSON string.
pub fn quote_into(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
