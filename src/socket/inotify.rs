//! Hears what is put into a folder, taken out of it, or done to it. With nothing of that, nothing runs.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// For whatever goes on in the folder to end: `rm -r` fails where a file comes back before the folder is gone, and many
/// files that come and go are one disturbance.
const SETTLE: Duration = Duration::from_millis(100);

const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Watches one folder at a time.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What the kernel has to tell.
    queue: Option<AsyncFd<OwnedFd>>,
    /// What it calls the folder.
    folder: Option<i32>,
}

impl Watch {
    /// Watches what is `dir` now. It may be another folder than it was.
    pub(super) fn set(&mut self, dir: &Path) -> io::Result<()> {
        let queue = match &self.queue {
            Some(queue) => queue,
            None => self.queue.insert(open()?),
        };
        let present = inotify::add_watch(queue, dir, WATCHED)?;
        if let Some(before) = self.folder.replace(present).filter(|before| *before != present) {
            // The kernel drops it by itself when the folder is gone.
            let _ = inotify::remove_watch(queue, before);
        }
        Ok(())
    }

    /// Waits until something happened to the file `path` or to the watched folder.
    pub(super) async fn rings(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default();
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            if queue.readable().await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(SETTLE).await;
            let Ok(mut ready) = queue.readable().await else { continue };
            let rung = hear(queue.get_ref(), name);
            ready.clear_ready();
            if rung {
                return;
            }
        }
    }
}

#[allow(deprecated, reason = "what took its place is unsafe; a descriptor of our own stays what it is")]
fn open() -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, Interest::READABLE)
}

/// Takes all that the kernel has to tell, and says whether any of it is about `name` or the folder itself, or was lost.
fn hear(queue: &OwnedFd, name: &OsStr) -> bool {
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut told = Reader::new(queue, &mut room);
    let mut rung = false;
    loop {
        match told.next() {
            Ok(event) => rung |= event.file_name().is_none_or(|file| file.to_bytes() == name.as_bytes()),
            Err(Errno::WOULDBLOCK) => return rung,
            Err(error) => {
                tracing::debug!(%error, "the folder's events could not be read");
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn only_what_happens_to_the_file_or_its_folder_rings() {
        let place = tempfile::tempdir().unwrap();
        let (dir, moved) = (place.path().join("dir"), place.path().join("moved"));
        fs::create_dir(&dir).unwrap();
        let mut watch = Watch::default();
        watch.set(&dir).unwrap();
        let (file, other) = (dir.join("file"), dir.join("file2"));
        let rung = |watch: &Watch| hear(watch.queue.as_ref().unwrap().get_ref(), OsStr::new("file"));
        let acts: [(&str, &dyn Fn() -> io::Result<()>, bool); 8] = [
            ("nothing", &|| Ok(()), false),
            ("another file", &|| fs::write(&other, ""), false),
            ("made", &|| fs::write(&file, ""), true),
            ("written to", &|| fs::write(&file, "more"), false),
            ("moved away", &|| fs::rename(&file, dir.join("file3")), true),
            ("another in its place", &|| fs::rename(&other, &file), true),
            ("removed", &|| fs::remove_file(&file), true),
            ("the folder moved", &|| fs::rename(&dir, &moved), true),
        ];
        for (what, act, rings) in acts {
            act().unwrap();
            assert_eq!(rung(&watch), rings, "{what}");
        }
        assert!(watch.set(&dir).is_err());
        fs::create_dir(&dir).unwrap();
        watch.set(&dir).unwrap();
        assert!(rung(&watch), "the folder that moved is watched no more");
        fs::write(moved.join("file"), "").unwrap();
        assert!(!rung(&watch));
        fs::write(&file, "").unwrap();
        assert!(rung(&watch));
    }
}
