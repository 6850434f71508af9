//! The Unix socket: bound where nobody else listens, put back when somebody takes it away, removed at the end.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
mod other;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::mpsc;

use crate::owner::{self, NotOurs};
use crate::stop::Stop;

#[cfg(target_os = "linux")]
use self::inotify::Watch;
#[cfg(not(target_os = "linux"))]
use self::other::Watch;

/// Connections that wait to be accepted: so many that nobody is turned away who comes in a crowd, and so few that whoever
/// comes after a flood of them does not wait for long.
const BACKLOG: u32 = 256;

/// Of the socket: for its user and its group.
const MODE: u32 = 0o660;

/// Delay before the next try to put the socket back, doubled after each.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_CAP: Duration = Duration::from_secs(60);

/// Reasons that are said while the socket is gone: whoever is in the way could be somebody else each time.
const MOST_REASONS: usize = 16;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens on it.
    #[error(
        "the socket {path} is taken by {holder}: stop that service first, or set api.socket to another path"
    )]
    Taken {
        /// The socket.
        path: PathBuf,
        /// Who listens there.
        holder: String,
    },
    /// Something that is no socket is in its place.
    #[error("{path} is not a socket: remove it, or set api.socket to another path")]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Another user could reach into its folder.
    #[error("the socket (api.socket) is not safe here: {0}")]
    NotOurs(NotOurs),
    /// The operating system refused.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

fn io_error(doing: &'static str, what: impl ToString) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { doing, what: what.to_string(), source }
}

/// Takes over a socket that systemd made, and looks after.
pub fn from_systemd(listener: std::os::unix::net::UnixListener) -> Result<UnixListener, SocketError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| Ok(rustix::net::listen(&listener, BACKLOG.cast_signed())?))
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(io_error("taking over", "the socket passed by systemd"))
}

/// Keeps the socket that this process made in its place; removes it when dropped.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// Which file it is: another service may have put its own in the place.
    id: Option<FileId>,
    watch: Watch,
}

/// Device and number.
type FileId = (u64, u64);

fn id_of(path: &Path) -> Option<FileId> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.is_in_place() {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Keeper {
    /// Binds the socket, taking over one whose service is dead.
    pub async fn bind(path: &Path) -> Result<(UnixListener, Keeper), SocketError> {
        let (listener, id) = bind(path).await?;
        Ok((listener, Keeper { path: path.to_owned(), id, watch: Watch::default() }))
    }

    /// Binds it anew whenever it is gone, and hands the listener on, until the service is to stop and nobody takes
    /// listeners any more.
    pub async fn keep(mut self, successors: mpsc::Sender<UnixListener>, mut stop: Stop) {
        tokio::select! {
            () = stop.requested() => {}
            () = self.put_back_again_and_again(&successors) => {}
        }
        successors.closed().await;
    }

    async fn put_back_again_and_again(&mut self, successors: &mpsc::Sender<UnixListener>) {
        let mut trouble = Trouble::default();
        loop {
            let put_back = match self.is_in_place() {
                true => Ok(()),
                false => {
                    trouble.is_gone = true;
                    self.put_back(successors).await
                }
            };
            // Also where it could not be put back: what is in the way may go. Looked at once more after that, because
            // what happened before was not heard.
            let watched = self.watch.set(folder(&self.path));
            match (put_back, watched) {
                (Ok(()), Ok(())) if self.is_in_place() => {
                    trouble.is_over(&self.path);
                    self.watch.rings(&self.path).await;
                    continue;
                }
                (Ok(()), Ok(())) => {}
                (Err(error), _) => trouble.cannot_put_back(&self.path, &error),
                (Ok(()), Err(error)) => trouble.cannot_watch(&self.path, &error),
            }
            tokio::select! {
                () = self.watch.rings(&self.path) => {}
                () = tokio::time::sleep(trouble.wait) => trouble.wait = longer(trouble.wait),
            }
        }
    }

    fn is_in_place(&self) -> bool {
        self.id.is_some() && id_of(&self.path) == self.id
    }

    async fn put_back(&mut self, successors: &mpsc::Sender<UnixListener>) -> Result<(), SocketError> {
        let (listener, id) = bind(&self.path).await?;
        self.id = id;
        // Nobody takes it when the service is about to stop.
        let _ = successors.send(listener).await;
        Ok(())
    }
}

/// What is wrong with the socket, and what was said about it.
#[derive(Debug)]
struct Trouble {
    is_gone: bool,
    wait: Duration,
    /// Why it cannot be put back.
    said: HashSet<String>,
    /// Why it cannot be watched, which holds on when it is back.
    said_of_watch: HashSet<String>,
}

impl Default for Trouble {
    fn default() -> Trouble {
        Trouble { is_gone: false, wait: AGAIN_FIRST, said: HashSet::new(), said_of_watch: HashSet::new() }
    }
}

impl Trouble {
    fn is_over(&mut self, path: &Path) {
        self.is_back(path);
        *self = Trouble::default();
    }

    fn is_back(&mut self, path: &Path) {
        if std::mem::take(&mut self.is_gone) {
            // The next time that it is gone is another trouble.
            self.said.clear();
            tracing::warn!("the socket {} was taken away and is back: players can connect", path.display());
        }
    }

    fn cannot_put_back(&mut self, path: &Path, error: &SocketError) {
        if is_new(&mut self.said, error) {
            let path = path.display();
            tracing::error!(
                "the socket {path} was taken away, players cannot connect, and it cannot be put back: {error}"
            );
        }
    }

    fn cannot_watch(&mut self, path: &Path, error: &io::Error) {
        self.is_back(path);
        if is_new(&mut self.said_of_watch, error) {
            tracing::warn!(
                "the socket {} cannot be watched: if somebody removes it, that is noticed late: {error}",
                path.display()
            );
        }
    }
}

/// Each reason is said once.
fn is_new(said: &mut HashSet<String>, reason: &impl ToString) -> bool {
    said.len() < MOST_REASONS && said.insert(reason.to_string())
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(AGAIN_CAP)
}

/// The folder that a socket is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether everybody may write to a folder but nobody remove what is another's there, as in `/tmp`.
fn is_shared(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|dir| dir.mode() & 0o1002 == 0o1002 && dir.uid() == 0)
}

async fn bind(path: &Path) -> Result<(UnixListener, Option<FileId>), SocketError> {
    let dir = folder(path);
    if !dir.is_dir() {
        // Set as well as asked for: a service's umask would take from the group what it is to have.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(dir)
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o750)))
            .map_err(io_error("making the socket's folder", dir.display()))?;
    }
    if !is_shared(dir) {
        owner::check_folder(dir).map_err(SocketError::NotOurs)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("looking at", path.display())(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(stream) => {
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let holder = pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
                return Err(SocketError::Taken { path: path.to_owned(), holder });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(io_error("removing the dead socket", path.display()))?;
            }
            Err(error) => return Err(io_error("connecting to", path.display())(error)),
        },
    }
    let socket = put_in_place(path)?;
    // Whoever has seen it answer may have put another file there.
    let id = id_of(path);
    let listener = socket.listen(BACKLOG).map_err(io_error("listening on", path.display()))?;
    Ok((listener, id))
}

/// Binds a socket with its mode. Nobody can connect before it listens, so nobody gets in by what the umask left of a mode.
fn put_in_place(path: &Path) -> Result<UnixSocket, SocketError> {
    let socket = UnixSocket::new_stream().map_err(io_error("making", "a socket"))?;
    socket.bind(path).map_err(io_error("binding", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .map_err(io_error("setting the mode of", path.display()))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_connects_before_the_mode_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("afterplay.sock");
        let socket = put_in_place(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        let refused = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = socket.listen(BACKLOG).unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_said_once_each_time_the_socket_is_gone() {
        let path = Path::new("/run/afterplay/afterplay.sock");
        let in_the_way = SocketError::NotASocket { path: path.to_owned() };
        let unwatched = io::Error::other("no watches are left");
        let mut trouble = Trouble::default();
        for said_of_watch in [true, false] {
            trouble.is_gone = true;
            trouble.cannot_put_back(path, &in_the_way);
            assert!(!is_new(&mut trouble.said, &in_the_way), "it was said");
            assert_eq!(trouble.said_of_watch.is_empty(), said_of_watch, "that goes on");
            trouble.cannot_watch(path, &unwatched);
            assert!(trouble.said.is_empty(), "it is back: the next time is another");
        }
    }
}
