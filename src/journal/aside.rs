//! Copies of the journal beside it: damaged ones that were set aside, how many of them are kept and for how long, and
//! what a crash leaves of others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::files::{beside, folder, remove};
use crate::clock::{Moment, Reading};

/// Kept at most.
const MOST: usize = 3;
/// Kept for at most so long.
pub(super) const KEEP_MS: i64 = 30 * 24 * 3600 * 1000;
/// What companions of a database are called besides.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// What a journal is called besides that was set aside; its tag follows.
const DAMAGED: &str = ".damaged-";
/// A journal that was to take the place of one that is gone or damaged, and was not finished.
pub(super) const UNFINISHED: [&str; 2] = [".new", ".salvaging"];
/// A copy that is being verified; its number follows.
pub(super) const VERIFYING: &str = ".verifying-";
/// Digits of the counter that a tag begins with.
const DIGITS: usize = 6;

/// Where a journal that is set aside now goes. A counter comes before the date: the clock may be wrong.
pub(super) fn name(path: &Path, now: &Reading) -> io::Result<PathBuf> {
    let tags = tags(path)?;
    if let Some(begun) = begun(path, &tags) {
        return Ok(begun);
    }
    let number = tags.last().map_or(0, |tag| number(tag)) + 1;
    let date = crate::clock::rfc3339(now.wall_ms).replace([':', '.'], "-");
    Ok(beside(path, &format!("{DAMAGED}{number:0DIGITS$}-{date}")))
}

/// Where the main file was moved before a crash: what is left of its companions goes there.
fn begun(path: &Path, tags: &[String]) -> Option<PathBuf> {
    let newest = beside(path, &format!("{DAMAGED}{}", tags.last()?));
    let both = |companion: &&str| beside(path, companion).exists() && beside(&newest, companion).exists();
    (!path.exists() && newest.exists() && !COMPANIONS[1..].iter().any(both)).then_some(newest)
}

/// The counter in a tag; 0 where there is none, so that those without are the oldest.
fn number(tag: &str) -> u64 {
    let digits = tag.split('-').next().filter(|digits| digits.len() >= DIGITS);
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What tells the journals apart that were set aside, oldest first.
pub(super) fn tags(path: &Path) -> io::Result<Vec<String>> {
    let mut tags: Vec<String> = names(path)?
        .into_iter()
        .filter_map(|name| {
            let tag = name.strip_prefix(DAMAGED)?;
            let bare = COMPANIONS[1..].iter().find_map(|companion| tag.strip_suffix(companion));
            Some(bare.unwrap_or(tag).to_owned())
        })
        .collect();
    tags.sort_unstable_by(|one, other| (number(one), one).cmp(&(number(other), other)));
    tags.dedup();
    Ok(tags)
}

/// What the files beside the journal are called besides.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(&own)) {
            names.push(rest.to_owned());
        }
    }
    Ok(names)
}

/// Removes the oldest of those that are too many; says so in the log.
pub(super) fn tidy(path: &Path) {
    let tidied = tags(path).and_then(|tags| {
        let spare = tags.len().saturating_sub(MOST);
        tags[..spare].iter().try_for_each(|tag| drop_one(path, tag))
    });
    if let Err(error) = tidied {
        tracing::warn!("looking for old damaged journals beside {}: {error}", path.display());
    }
}

/// Removes one that was set aside.
pub(super) fn drop_one(path: &Path, tag: &str) -> io::Result<()> {
    let aside = beside(path, &format!("{DAMAGED}{tag}"));
    for companion in COMPANIONS {
        remove(&beside(&aside, companion))?;
    }
    tracing::warn!("removed the damaged journal {}: the last {MOST} are kept, for 30 days", aside.display());
    Ok(())
}

/// Since when each of `tags` is known to be there, and which of them have been for too long. `age` is how long ago a
/// moment was, whatever the clock said.
pub(super) fn ages(
    tags: Vec<String>,
    known: &BTreeMap<String, Moment>,
    now: &Moment,
    age: impl Fn(&Moment) -> i64,
) -> (BTreeMap<String, Moment>, Vec<String>) {
    let since = |tag: String| {
        let since = known.get(&tag).copied().unwrap_or(*now);
        (tag, since)
    };
    let (over, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tags.into_iter().map(since).partition(|(_, since)| age(since) > KEEP_MS);
    (kept, over.into_keys().collect())
}

fn is_left_over(name: &str) -> bool {
    name.starts_with(VERIFYING) || UNFINISHED.contains(&name)
}

/// Removes copies that a crash left unfinished. Nobody else may have the journal open.
pub(super) fn sweep(path: &Path) {
    let swept = names(path).and_then(|names| {
        names.iter().filter(|name| is_left_over(name)).try_for_each(|name| remove(&beside(path, name)))
    });
    if let Err(error) = swept {
        tracing::warn!("removing unfinished copies of {}: {error}", path.display());
    }
}

/// Overwrites and removes every copy: an opt-out means what is in them too.
pub(super) fn erase(path: &Path) -> io::Result<()> {
    for name in names(path)?.iter().filter(|name| name.starts_with(DAMAGED) || is_left_over(name)) {
        let copy = beside(path, name);
        match File::options().write(true).open(&copy) {
            // Root's, from a look at the journal: removed it is all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            file => {
                let mut file = file?;
                let length = file.metadata()?.len();
                io::copy(&mut io::repeat(0).take(length), &mut file)?;
                file.sync_all()?;
            }
        }
        remove(&copy)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Reading = Reading { wall_ms: 1_780_000_000_000, boot_ms: 0 };
    const WRONG: Reading = Reading { wall_ms: 20_000, boot_ms: 0 };

    fn left(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_are_kept_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        fs::write(&path, "").unwrap();
        fs::write(beside(&path, ".damaged-2026-11-22T10-00-00-000Z"), "from before there was a counter")
            .unwrap();
        for (n, now) in [RIGHT, RIGHT, WRONG, RIGHT, WRONG].iter().enumerate() {
            let aside = name(&path, now).unwrap();
            fs::write(&aside, n.to_string()).unwrap();
            fs::write(beside(&aside, "-wal"), n.to_string()).unwrap();
            tidy(&path);
        }
        let kept: Vec<String> = tags(&path)
            .unwrap()
            .iter()
            .map(|tag| fs::read_to_string(beside(&path, &format!("{DAMAGED}{tag}"))).unwrap())
            .collect();
        assert_eq!(kept, ["2", "3", "4"]);
        assert_eq!(left(dir.path()).len(), 7, "companions go with their journal");
    }

    #[test]
    fn thirty_days_count_from_when_each_was_first_seen() {
        let day = 24 * 3600 * 1000;
        let at = |days: i64| Moment { boot: 1, boot_ms: days * day, wall_ms: 0 };
        let known =
            BTreeMap::from([("1970".to_owned(), at(0)), ("b".to_owned(), at(5)), ("gone".to_owned(), at(1))]);
        let tags = |tags: [&str; 3]| tags.map(str::to_owned).to_vec();
        let now = at(31);
        let (kept, over) = ages(tags(["1970", "b", "new"]), &known, &now, |since| now.since(since));
        assert_eq!(over, ["1970"]);
        assert_eq!(kept, BTreeMap::from([("b".to_owned(), at(5)), ("new".to_owned(), now)]));
    }

    #[test]
    fn unfinished_copies_go_at_a_start_and_all_of_them_with_an_opt_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let write = || {
            for suffix in
                ["", "-wal", ".lock", ".new", ".salvaging", ".verifying-1", ".verifying-1-wal", ".damaged-x"]
            {
                fs::write(beside(&path, suffix), "copy").unwrap();
            }
        };
        write();
        sweep(&path);
        assert_eq!(
            left(dir.path()),
            ["journal.db", "journal.db-wal", "journal.db.damaged-x", "journal.db.lock"]
        );
        write();
        erase(&path).unwrap();
        assert_eq!(left(dir.path()), ["journal.db", "journal.db-wal", "journal.db.lock"]);
    }
}
