//! Damaged journals that were set aside: how many are kept, and for how long.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::files::{beside, folder};
use crate::clock::Reading;

/// Kept at most.
const MOST: usize = 3;
/// Kept for at most so long.
const KEEP_MS: i64 = 30 * 24 * 3600 * 1000;
/// What companions of a database are called besides.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// What names a journal that is set aside now: it sorts by time.
pub(super) fn tag(now: &Reading) -> String {
    crate::clock::rfc3339(now.wall_ms).replace([':', '.'], "-")
}

/// When a tag was made.
fn made_ms(tag: &str) -> Option<i64> {
    let (day, time) = tag.get(..24)?.split_once('T')?;
    let mut parts = time.splitn(4, '-');
    let text = format!("{day}T{}:{}:{}.{}", parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

/// Those that go of `tags`, which are sorted: all but the last few, and what is too old.
fn too_many<'a>(tags: &'a [String], now: &Reading) -> impl Iterator<Item = &'a String> {
    let spare = tags.len().saturating_sub(MOST);
    let now_ms = now.wall_ms;
    tags.iter().enumerate().filter_map(move |(at, tag)| {
        let old = made_ms(tag).is_some_and(|made| now_ms.saturating_sub(made) > KEEP_MS);
        (at < spare || old).then_some(tag)
    })
}

/// Removes the oldest, those that are too many and those that are too old; says so in the log.
pub(super) fn tidy(path: &Path, now: &Reading) {
    if let Err(error) = try_tidy(path, now) {
        tracing::warn!("looking for old damaged journals beside {}: {error}", path.display());
    }
}

fn try_tidy(path: &Path, now: &Reading) -> io::Result<()> {
    let dir = folder(path);
    let prefix = format!("{}.damaged-", path.file_name().unwrap_or_default().to_string_lossy());
    let mut tags = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(tag) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        let bare = COMPANIONS[1..].iter().find_map(|companion| tag.strip_suffix(companion)).unwrap_or(tag);
        tags.push(bare.to_owned());
    }
    tags.sort_unstable();
    tags.dedup();
    for tag in too_many(&tags, now) {
        let aside: PathBuf = dir.join(OsStr::new(&format!("{prefix}{tag}")));
        for companion in COMPANIONS {
            match fs::remove_file(beside(&aside, companion)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        tracing::warn!(
            "removed the damaged journal {}: the last {MOST} are kept, for 30 days",
            aside.display()
        );
    }
    Ok(())
}

/// Overwrites and removes damaged journals that were set aside: an opt-out means what is in them too.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let dir = folder(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.damaged-");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let mut file = File::options().write(true).open(entry.path())?;
        let length = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.sync_all()?;
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Reading = Reading { wall_ms: 1_780_000_000_000, boot_ms: 0 };

    fn days_ago(days: i64) -> String {
        tag(&Reading { wall_ms: NOW.wall_ms - days * 24 * 3600 * 1000, boot_ms: 0 })
    }

    #[test]
    fn the_last_three_are_kept_for_thirty_days() {
        let left = |days: &[i64]| {
            let tags: Vec<String> = days.iter().map(|days| days_ago(*days)).collect();
            let gone: Vec<&String> = too_many(&tags, &NOW).collect();
            tags.iter().filter(|tag| !gone.contains(tag)).count()
        };
        for (days, expected) in [
            (&[][..], 0),
            (&[30][..], 1),
            (&[31][..], 0),
            (&[3, 2, 1][..], 3),
            (&[4, 3, 2, 1][..], 3),
            (&[40, 35, 31, 1][..], 1),
            (&[-40][..], 1),
        ] {
            assert_eq!(left(days), expected, "{days:?}");
        }
    }

    #[test]
    fn companions_go_with_their_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        fs::write(&path, "").unwrap();
        for days in [5, 4, 3, 2] {
            fs::write(beside(&path, &format!(".damaged-{}", days_ago(days))), "").unwrap();
            fs::write(beside(&path, &format!(".damaged-{}-wal", days_ago(days))), "").unwrap();
        }
        fs::write(beside(&path, &format!(".damaged-{}-2", days_ago(2))), "").unwrap();
        tidy(&path, &NOW);
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let aside = |days, end| format!("journal.db.damaged-{}{end}", days_ago(days));
        let expected = [
            "journal.db".into(),
            aside(3, ""),
            aside(3, "-wal"),
            aside(2, ""),
            aside(2, "-2"),
            aside(2, "-wal"),
        ];
        assert_eq!(left, expected);
    }
}
