//! Whose folders and files the service works in: another local user's could be swapped under its hands.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a path is not worked in.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// Another user owns it.
    #[error(
        "{path} belongs to user {owner}, not to the service's user {own} or root: \
         remove it, give it to user {own}, or choose another path"
    )]
    Foreign {
        /// What.
        path: PathBuf,
        /// Whose.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Every user may put files there.
    #[error("every user may write to {path}: choose a folder of the service's own, or take that right away")]
    Public {
        /// What.
        path: PathBuf,
    },
    /// A group may put files there.
    #[error(
        "everybody in group {group} may write to {path}: take that right away (chmod g-w), \
         or choose a folder of the service's own"
    )]
    Group {
        /// What.
        path: PathBuf,
        /// Which group.
        group: u32,
    },
    /// Neither a file nor missing.
    #[error("{path} is {what}, not a file: remove it, or choose another path")]
    NotAFile {
        /// What.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file system refused.
    #[error("looking at {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Checks that only we and root decide what is in a folder.
pub fn check_folder(dir: &Path) -> Result<(), NotOurs> {
    let found = fs::metadata(dir).map_err(|source| NotOurs::Io { path: dir.to_owned(), source })?;
    is_ours(dir, &found)?;
    if found.mode() & 0o002 != 0 {
        return Err(NotOurs::Public { path: dir.to_owned() });
    }
    Ok(())
}

/// The same for a folder whose content nobody else may even move.
pub fn check_private_folder(dir: &Path) -> Result<(), NotOurs> {
    check_folder(dir)?;
    let found = fs::metadata(dir).map_err(|source| NotOurs::Io { path: dir.to_owned(), source })?;
    if found.mode() & 0o020 != 0 {
        return Err(NotOurs::Group { path: dir.to_owned(), group: found.gid() });
    }
    Ok(())
}

/// Checks that a file, if it is there, is a file of ours; opening a pipe would wait for ever.
pub fn check_file(path: &Path) -> Result<(), NotOurs> {
    for look in [fs::symlink_metadata, fs::metadata] {
        let found = match look(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(NotOurs::Io { path: path.to_owned(), source }),
            Ok(found) => found,
        };
        is_ours(path, &found)?;
        let kind = found.file_type();
        let what = match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () if kind.is_block_device() || kind.is_char_device() => "a device",
            () => continue,
        };
        return Err(NotOurs::NotAFile { path: path.to_owned(), what });
    }
    Ok(())
}

fn is_ours(path: &Path, found: &fs::Metadata) -> Result<(), NotOurs> {
    let own = rustix::process::geteuid().as_raw();
    match found.uid() {
        0 => Ok(()),
        owner if owner == own => Ok(()),
        owner => Err(NotOurs::Foreign { path: path.to_owned(), owner, own }),
    }
}
