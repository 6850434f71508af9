//! The layers that values come from, lowest first: defaults, file, environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Default, KEYS, Key, Kind};
use super::problem::{ConfigProblem, Place, nearest};
use super::value::{DURATION_FORM, duration_text, is_fpid, parse_duration};
use super::{Config, Places, Scope, Surroundings};

/// Mistakes in the syntax that are told: what follows the first ones may be no mistake at all.
const MAX_SYNTAX_PROBLEMS: usize = 20;

/// A value before it is checked against its key.
#[derive(Debug, Clone, PartialEq)]
enum Raw {
    Text(String),
    Whole(i64),
    Switch(bool),
    List(Vec<Raw>),
    Other(&'static str),
}

impl Raw {
    fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Self::Other("a number too large to count"), Self::Whole),
            DeValue::Boolean(value) => Self::Switch(*value),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::of_toml(item.get_ref())).collect())
            }
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date or time"),
            DeValue::Table(_) => Self::Other("a section"),
        }
    }

    /// Variables hold text only: what it stands for depends on the key. Lists are separated by commas.
    fn of_variable(text: &str, kind: &Kind) -> Self {
        let plain = || Self::Text(text.to_owned());
        match kind {
            Kind::Text { .. } | Kind::Duration { .. } => plain(),
            Kind::Whole { .. } => text.trim().parse().map_or_else(|_| plain(), Self::Whole),
            Kind::Switch { .. } => text.trim().parse().map_or_else(|_| plain(), Self::Switch),
            Kind::List { .. } => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Self::List(items.map(|item| Self::Text(item.to_owned())).collect())
            }
        }
    }

    fn noun(&self) -> String {
        match self {
            Self::Text(text) => format!("the text {text:?}"),
            Self::Whole(number) => format!("the number {number}"),
            Self::Switch(value) => value.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(noun) => (*noun).to_owned(),
        }
    }
}

/// Something wrong with a value, or with one item of a list.
struct Flaw {
    item: Option<usize>,
    problem: String,
}

impl From<String> for Flaw {
    fn from(problem: String) -> Self {
        Self { item: None, problem }
    }
}

/// Checks a value against its key and sets it.
fn apply(config: &mut Config, key: &Key, raw: &Raw) -> Result<(), Vec<Flaw>> {
    let one = |problem: String| vec![Flaw::from(problem)];
    match (&key.kind, raw) {
        (Kind::Text { set, .. }, Raw::Text(text)) => set(config, text).map_err(one),
        (Kind::Duration { min, max, why, set }, Raw::Text(text)) => {
            let value = parse_duration(text).map_err(one)?;
            if value < *min {
                return Err(one(format!(
                    "{text:?} is too short: at least \"{}\", since {why}",
                    duration_text(*min)
                )));
            }
            if value > *max {
                return Err(one(format!(
                    "{text:?} is too long: at most \"{}\", since {why}",
                    duration_text(*max)
                )));
            }
            set(config, value);
            Ok(())
        }
        (Kind::Duration { .. }, Raw::Whole(number)) => {
            Err(one(format!("{number} has no unit: write {DURATION_FORM}, in quotes")))
        }
        (Kind::Whole { min, max, why, set }, Raw::Whole(number)) => match u64::try_from(*number) {
            Ok(value) if (*min..=*max).contains(&value) => {
                set(config, value);
                Ok(())
            }
            Ok(value) if value > *max => {
                Err(one(format!("{number} is too large: at most {max}, since {why}")))
            }
            _ => Err(one(format!("{number} is too small: at least {min}, since {why}"))),
        },
        (Kind::Switch { set }, Raw::Switch(value)) => {
            set(config, *value);
            Ok(())
        }
        (Kind::List { form, set }, Raw::List(items)) => {
            let (mut texts, mut flaws) = (Vec::new(), Vec::new());
            for (at, item) in items.iter().enumerate() {
                match item {
                    Raw::Text(text) => texts.push(text.clone()),
                    other => flaws.push(Flaw {
                        item: Some(at),
                        problem: format!("found {}, expected {form}", other.noun()),
                    }),
                }
            }
            if !flaws.is_empty() {
                return Err(flaws);
            }
            set(config, &texts).map_err(|wrong| {
                wrong.into_iter().map(|(at, problem)| Flaw { item: Some(at), problem }).collect()
            })
        }
        (_, other) => Err(one(format!("found {}, expected {}", other.noun(), key.form()))),
    }
}

/// What was set by whom, and everything that was wrong on the way.
pub(super) struct Layers {
    pub(super) config: Config,
    pub(super) problems: Vec<ConfigProblem>,
    /// Where each key was set, by its full name; keys left at their default are missing.
    pub(super) set: BTreeMap<String, Place>,
}

impl Layers {
    /// The lowest layer.
    pub(super) fn defaults(scope: Scope, places: Option<&Places>) -> Self {
        let mut layers = Self { config: Config::blank(), problems: Vec::new(), set: BTreeMap::new() };
        for key in KEYS {
            let place = |path: Option<&PathBuf>| path.cloned().unwrap_or_default();
            match key.default {
                Default::Socket => layers.config.api.socket = place(places.and_then(|p| p.socket.as_ref())),
                Default::Journal => {
                    layers.config.journal.path = place(places.and_then(|p| p.journal.as_ref()))
                }
                Default::Always(_) | Default::PerScope { .. } => {
                    let raw = DeValue::parse(key.default_text(scope))
                        .map_or(Raw::Other("no TOML"), |value| Raw::of_toml(value.get_ref()));
                    layers.take(key, &raw, |_| Place::default());
                }
            }
        }
        layers.set.clear();
        layers
    }

    fn take(&mut self, key: &Key, raw: &Raw, place: impl Fn(Option<usize>) -> Place) {
        self.set.insert(key.full_name(), place(None));
        if let Err(flaws) = apply(&mut self.config, key, raw) {
            let named = flaws.into_iter().map(|flaw| place(flaw.item).problem(key.full_name(), flaw.problem));
            self.problems.extend(named);
        }
    }

    /// Lays a file on top.
    pub(super) fn file(&mut self, path: &Path, bytes: &[u8]) {
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let place = File { path, text: valid }.place(valid.len());
                return self
                    .problems
                    .push(place.problem("", "this byte is not UTF-8: save the file as UTF-8"));
            }
        };
        let file = File { path, text };
        let (table, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let table = table.get_ref();
        let mut lines = Vec::new();
        for error in errors.iter().take(MAX_SYNTAX_PROBLEMS) {
            let at = error.span().map_or(0, |span| span.start);
            let place = file.place(at);
            if !lines.contains(&place.line) {
                lines.push(place.line);
                self.problems.push(syntax_problem(&place, error.message(), file.key_at(table, at)));
            }
        }
        // What follows a mistake in the syntax may have been read in a wrong section.
        let sound = errors
            .first()
            .and_then(|error| error.span())
            .map_or(text.len(), |span| file.line_start(span.start));
        self.table(&file, "", table, sound);
    }

    fn table(&mut self, file: &File<'_>, section: &str, table: &DeTable<'_>, sound: usize) {
        for (name, value) in table {
            if name.span().start >= sound {
                continue;
            }
            let at = |item: Option<usize>| match (item, value.get_ref()) {
                (Some(item), DeValue::Array(items)) => {
                    items.get(item).map_or(value.span(), Spanned::span).start
                }
                _ => value.span().start,
            };
            let word = name.get_ref().as_ref();
            if let Some(key) = keys::find(section, word) {
                self.take(key, &Raw::of_toml(value.get_ref()), |item| file.place(at(item)));
            } else if section.is_empty() && keys::sections().any(|known| known == word) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.table(file, word, inner, sound),
                    _ => self.problems.push(
                        file.place(name.span().start)
                            .problem(word, format!("this is a section: write [{word}] on a line of its own")),
                    ),
                }
            } else {
                let full = if section.is_empty() { word.to_owned() } else { format!("{section}.{word}") };
                let problem = unknown(section, word, value.get_ref().is_table());
                self.problems.push(file.place(name.span().start).problem(full, problem));
            }
        }
    }

    /// Lays the environment on top.
    pub(super) fn environment(&mut self, surroundings: &Surroundings) {
        for (name, value) in &surroundings.variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if name == "AFTERPLAY_LOG" || name.starts_with("AFTERPLAY_TEST_") {
                continue;
            }
            let place = Place::environment(name);
            match (KEYS.iter().find(|key| key.variable() == name), value.to_str()) {
                (Some(key), Some(text)) => {
                    self.take(key, &Raw::of_variable(text, &key.kind), |_| place.clone())
                }
                (Some(key), None) => {
                    self.problems.push(place.problem(key.full_name(), "the value is not UTF-8"))
                }
                (None, _) => self.problems.extend(unknown_variable(name).map(|text| place.problem("", text))),
            }
        }
    }

    /// Checks what concerns more than one key, and what depends on places.
    pub(super) fn check_together(&mut self) {
        let Config { api, journal, retry, identity, .. } = &self.config;
        let broken = |key: &str| self.problems.iter().any(|problem| problem.key == key);
        let mut wrong = Vec::new();
        for (first, last, low, high) in [
            ("retry.initial", "retry.max", retry.initial, retry.max),
            ("retry.pause_initial", "retry.pause_max", retry.pause_initial, retry.pause_max),
        ] {
            if low > high && !broken(first) && !broken(last) {
                let (low, high) = (duration_text(low), duration_text(high));
                let key = if self.set.contains_key(last) { last } else { first };
                wrong.push((
                    key,
                    format!("{last} (\"{high}\") is shorter than {first} (\"{low}\"): swap or align them"),
                ));
            }
        }
        match (identity.namespace.as_str(), &identity.id) {
            // The value itself stays out of the text: it names a device.
            ("FPID", Some(id)) if !is_fpid(id) => wrong.push((
                "identity.id",
                "it is not a UUID of version 4, and Adobe takes no other FPID: write one, or \"\" to have it made"
                    .to_owned(),
            )),
            (namespace, None) if namespace != "FPID" && !broken("identity.id") => wrong.push((
                "identity.namespace",
                format!("{namespace:?} needs an identity.id: only an FPID can be made here"),
            )),
            _ => {}
        }
        for (key, path) in [("api.socket", &api.socket), ("journal.path", &journal.path)] {
            if path.as_os_str().is_empty() && !self.set.contains_key(key) {
                wrong.push((
                    key,
                    "no home folder is known to put it in: set it in the configuration, or HOME".to_owned(),
                ));
            }
        }
        let length = api.socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let problem = format!(
                "the path is {length} bytes long: the system takes at most {SOCKET_PATH_MAX} for a socket"
            );
            wrong.push(("api.socket", problem));
        }
        for (key, problem) in wrong {
            let place = self.set.get(key).cloned().unwrap_or_else(Place::default);
            self.problems.push(place.problem(key, problem));
        }
    }
}

/// What our environment variables begin with.
const PREFIX: &str = "AFTERPLAY_";

/// What fits into `sun_path` with its closing NUL.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Byte offsets to places in a file.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line_start(&self, at: usize) -> usize {
        self.before(at).rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn before(&self, at: usize) -> &str {
        self.text.get(..at).unwrap_or(self.text)
    }

    fn place(&self, at: usize) -> Place {
        let before = self.before(at);
        let line = &before[self.line_start(at)..];
        Place {
            origin: self.path.display().to_string(),
            line: Some(before.matches('\n').count() + 1),
            column: Some(line.trim_start_matches('\u{feff}').chars().count() + 1),
        }
    }

    /// The key whose value stands at an offset.
    fn key_at(&self, table: &DeTable<'_>, at: usize) -> Option<&'static Key> {
        let holds = |value: &Spanned<DeValue<'_>>| value.span().contains(&at) || value.span().start == at;
        table.iter().find_map(|(name, value)| match value.get_ref() {
            DeValue::Table(inner) => inner
                .iter()
                .find(|(_, value)| holds(value))
                .and_then(|(inner, _)| keys::find(name.get_ref(), inner.get_ref())),
            _ => holds(value).then(|| keys::find("", name.get_ref()))?,
        })
    }
}

fn syntax_problem(place: &Place, message: &str, key: Option<&'static Key>) -> ConfigProblem {
    match key {
        Some(key) if message.starts_with("duplicate") => {
            place.problem(key.full_name(), "it is set twice: keep one")
        }
        Some(key) => {
            let what = message.split(", expected").next().unwrap_or(message);
            place.problem(key.full_name(), format!("{what}: write {}", key.form()))
        }
        None if message.starts_with("duplicate") => {
            place.problem("", "this key or section is there twice: keep one and put everything below it")
        }
        None => place.problem("", format!("this is not TOML: {message}")),
    }
}

/// What to say of a name that is not in the table.
fn unknown(section: &str, name: &str, is_table: bool) -> String {
    if section.is_empty() && is_table {
        return match nearest(name, keys::sections()) {
            Some(known) => format!("there is no such section: did you mean [{known}]?"),
            None => format!("there is no such section: there are {}", list(keys::sections())),
        };
    }
    let siblings = || KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    if let Some(known) = nearest(name, siblings()) {
        return format!("there is no such key: did you mean {known}?");
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return match key.section {
            "" => format!("there is no such key here: {name} belongs at the top, before the first section"),
            other => format!("there is no such key here: {name} belongs under [{other}]"),
        };
    }
    match section {
        "" => format!("there is no such key: at the top there are {}", list(siblings())),
        _ => format!("there is no such key: [{section}] has {}", list(siblings())),
    }
}

/// What to say of a variable with our prefix that sets nothing; one that looks like none of ours is left alone.
fn unknown_variable(name: &str) -> Option<String> {
    let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let flat = |text: &str| text.replace("__", "_");
    let stem = |text: &str| text.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let near = variables.iter().find(|known| flat(known) == flat(name)).cloned().or_else(|| {
        let alike = variables.iter().filter(|known| known.contains("__") == name.contains("__"));
        let stems: Vec<String> = alike.map(|known| stem(known)).collect();
        nearest(&stem(name), stems.iter().map(String::as_str)).map(|near| format!("{PREFIX}{near}"))
    });
    match near {
        Some(near) => Some(format!("it sets nothing: did you mean {near}?")),
        None if name.contains("__") => Some(
            "it sets nothing: variables are named AFTERPLAY_SECTION__KEY after the keys of the file"
                .to_owned(),
        ),
        None => None,
    }
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
