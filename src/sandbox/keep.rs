//! Keeps what was received, a file a request, and never touches an older one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder with numbered bodies and reports.
#[derive(Debug)]
pub(super) struct Keep {
    dir: PathBuf,
    next: AtomicU64,
}

impl Keep {
    /// Makes the folder if need be and goes on after its last number.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut last = 0;
        for file in fs::read_dir(dir)? {
            last = last.max(number(&file?.file_name().to_string_lossy()).unwrap_or(0));
        }
        Ok(Keep { dir: dir.to_owned(), next: AtomicU64::new(last.saturating_add(1)) })
    }

    /// Writes `NNNN-LABEL.json` and `NNNN-LABEL.report.json`, each complete or not at all.
    pub(super) fn save(&self, label: &str, body: Option<&[u8]>, report: &[u8]) -> io::Result<PathBuf> {
        let (number, claim) = self.claim()?;
        let saved = self.fill(number, &claim, label, body, report);
        if saved.is_err() || body.is_none() {
            // The claim became the body, unless there is none.
            let _ = fs::remove_file(&claim);
        }
        saved
    }

    fn fill(
        &self,
        number: u64,
        claim: &Path,
        label: &str,
        body: Option<&[u8]>,
        report: &[u8],
    ) -> io::Result<PathBuf> {
        let name = |end: &str| self.dir.join(format!("{number:04}-{label}{end}"));
        let part = self.dir.join(format!(".{number:04}.report.part"));
        let report_path = name(".report.json");
        fs::write(&part, report).and_then(|()| fs::rename(&part, &report_path)).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        let Some(body) = body else { return Ok(report_path) };
        OpenOptions::new().write(true).open(claim)?.write_all(body)?;
        fs::rename(claim, name(".json"))?;
        Ok(name(".json"))
    }

    /// A number is ours once its hidden file is, also beside another sandbox in the same folder.
    fn claim(&self) -> io::Result<(u64, PathBuf)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.dir.join(format!(".{number:04}.part"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            }
            if self.taken(number)? {
                fs::remove_file(&path)?;
                continue;
            }
            return Ok((number, path));
        }
    }

    fn taken(&self, wanted: u64) -> io::Result<bool> {
        for file in fs::read_dir(&self.dir)? {
            if number(&file?.file_name().to_string_lossy()) == Some(wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn number(file: &str) -> Option<u64> {
    file.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keepers_of_one_folder_share_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("0041-200.json"), "old").unwrap();
        let (a, b) = (Keep::open(dir.path()).unwrap(), Keep::open(dir.path()).unwrap());
        std::thread::scope(|scope| {
            for (keep, body) in [(&a, "a"), (&b, "b")] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        keep.save("200", Some(body.as_bytes()), b"{}").unwrap();
                    }
                });
            }
        });
        let names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 1 + 2 * 40, "{names:?}");
        assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
        assert_eq!(fs::read(dir.path().join("0041-200.json")).unwrap(), b"old");
        assert!(names.iter().all(|name| number(name) >= Some(41)), "{names:?}");
        let bodies = |wanted: &str| {
            let is = |name: &&String| fs::read_to_string(dir.path().join(name)).unwrap() == wanted;
            names.iter().filter(is).count()
        };
        assert_eq!((bodies("a"), bodies("b"), bodies("{}")), (20, 20, 40));
    }

    #[test]
    fn a_request_without_a_body_leaves_its_report() {
        let dir = tempfile::tempdir().unwrap();
        let path = Keep::open(dir.path()).unwrap().save("reset-before", None, b"{}").unwrap();
        assert_eq!(path, dir.path().join("0001-reset-before.report.json"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
