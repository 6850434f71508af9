//! One pass over a text to a borrowed tree, with every problem and its place.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Name, Path, Problem, Problems, not_json, trim, utf8};

/// Containers inside containers that a text may have.
pub const MAX_DEPTH: usize = 64;

/// Members of an object that are compared one with the other.
const FEW: usize = 16;

/// A JSON number, as far as a checker needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Negative(i64),
    /// A number with a fraction or an exponent, `-0`, or one beyond 64 bits.
    Float(f64),
}

impl Number {
    /// The value, rounded beyond 53 bits.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Unsigned(n) => n as f64,
            Number::Negative(n) => n as f64,
            Number::Float(n) => n,
        }
    }
}

/// A JSON value that borrows from its text what it can.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string, its escapes resolved.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object's members in the order of the text.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// The kind of value, as a person would say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::String(_) => "a string",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
        }
    }

    /// The member of that name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Node::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<Number> {
        match self {
            Node::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// A text that is JSON, and what is wrong with it all the same.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// The value; what is nested too deeply is left empty.
    pub node: Node<'a>,
    /// Duplicate names, U+0000, too many levels.
    pub problems: Problems,
}

/// Reads a whole text in one pass.
pub fn parse(text: &[u8]) -> Result<Parsed<'_>, Problem> {
    parse_str(utf8(text)?)
}

/// Reads a whole text that is known to be UTF-8 in one pass.
pub fn parse_str(text: &str) -> Result<Parsed<'_>, Problem> {
    if trim(text).is_empty() {
        return Err(Problem::whole("empty: a JSON value was expected"));
    }
    let mut problems = Problems::default();
    let mut source = serde_json::Deserializer::from_str(text);
    let node = NodeSeed { path: &Path::Root, depth: 1, problems: &mut problems }
        .deserialize(&mut source)
        .and_then(|node| source.end().map(|()| node))
        .map_err(not_json)?;
    Ok(Parsed { node, problems })
}

struct NodeSeed<'s> {
    path: &'s Path<'s>,
    depth: usize,
    problems: &'s mut Problems,
}

impl NodeSeed<'_> {
    fn too_deep(&mut self) -> bool {
        let deep = self.depth > MAX_DEPTH;
        if deep {
            self.problems.push(self.path, format!("nested too deeply: at most {MAX_DEPTH} levels are taken"));
        }
        deep
    }

    fn text<'a>(self, text: Cow<'a, str>) -> Node<'a> {
        // JSON has U+0000 as an escape only, and what has escapes is not borrowed.
        if matches!(&text, Cow::Owned(text) if text.contains('\0')) {
            self.problems.push(self.path, "contains U+0000, which no text may");
        }
        Node::String(text)
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Node<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Unsigned(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(u64::try_from(v).map_or(Number::Negative(v), Number::Unsigned)))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Float(v)))
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Node<'de>, E> {
        Ok(self.text(Cow::Borrowed(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node<'de>, E> {
        Ok(self.text(Cow::Owned(v.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        if self.too_deep() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Node::Array(items));
        }
        while let Some(item) = seq.next_element_seed(NodeSeed {
            path: &self.path.item(items.len()),
            depth: self.depth + 1,
            problems: self.problems,
        })? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Node<'de>, A::Error> {
        if self.too_deep() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Node::Object(Vec::new()));
        }
        let mut members: Vec<(Cow<'de, str>, Node<'de>)> = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let path = self.path.member(&name);
            if matches!(&name, Cow::Owned(name) if name.contains('\0')) {
                self.problems.push(&path, "the name contains U+0000, which no text may");
            }
            let seed = NodeSeed { path: &path, depth: self.depth + 1, problems: self.problems };
            let node = map.next_value_seed(seed)?;
            members.push((name, node));
        }
        for name in repeated(&members) {
            self.problems.push(&self.path.member(name), "given more than once: give it once");
        }
        Ok(Node::Object(members))
    }
}

/// Each name that comes twice or more, once, in alphabetical order.
fn repeated<'n>(members: &'n [(Cow<'_, str>, Node<'_>)]) -> Vec<&'n str> {
    let twice_among_few = |(at, (name, _)): (usize, &(Cow<'_, str>, _))| {
        members[..at].iter().any(|(earlier, _)| earlier == name)
    };
    // Nearly every object: nothing to collect and to sort.
    if members.len() <= FEW && !members.iter().enumerate().any(twice_among_few) {
        return Vec::new();
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let mut twice: Vec<&str> = names.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
    twice.dedup();
    twice
}
