//! Other local users: connections that the kernel notes as theirs, and a place that they may enter.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::service::{Connection, Place, Service, connect, wait_for};

pub(crate) const ANNA: u32 = 12_001;
pub(crate) const BERT: u32 = 12_002;
pub(crate) const CARL: u32 = 12_003;
pub(crate) const DORA: u32 = 12_004;

/// Only root can be several users.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not tried: this needs root");
    }
    root
}

/// A place that the group of the tester, root's, may enter.
pub(crate) fn shared_place(endpoint: &str, extra: &str) -> Place {
    let place = Place::new(endpoint, extra);
    std::fs::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
    place
}

/// Does something as another user. The kernel notes which thread connects or makes a file, so a thread that becomes
/// that user is enough; it keeps its group, which the socket lets in.
pub(crate) fn as_user<T: Send + 'static>(uid: u32, work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// A connection of another user's. The socket gets its mode just after it is there.
pub(crate) fn connect_as(service: &Service<'_>, uid: u32) -> Connection {
    let socket = service.socket.clone();
    as_user(uid, move || wait_for("the socket to let its group in", || connect(&socket).ok()))
}

/// Gives something to another user.
pub(crate) fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}
