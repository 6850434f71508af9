//! SQLite's own way to the disk with two additions: commits and syncs are counted, and each sync can take longer.
//!
//! It works inside one process only, so the service runs its library code in this program then: the same code with the
//! same profile as the binary, over a disk as slow as one asks for.
#![allow(unsafe_code, reason = "SQLite takes a file system as a table of C functions")]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rusqlite::ffi;

/// Names of the variables that turn this program into a service.
pub(crate) const DELAY: &str = "AFTERPLAY_FIGURES_DELAY_US";
pub(crate) const COUNTS: &str = "AFTERPLAY_FIGURES_COUNTS";

/// What has reached the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Commits written to the WAL.
    pub(crate) commits: u64,
    /// Syncs of any file.
    pub(crate) syncs: u64,
    /// Commits written while the one before had not been synced yet.
    pub(crate) unsynced: u64,
}

impl Counts {
    /// What another process has left in its file.
    pub(crate) fn read(path: &Path) -> Counts {
        let mut bytes = [0; 24];
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0));
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        read.map_or(Counts::default(), |()| Counts { commits: word(0), syncs: word(8), unsynced: word(16) })
    }
}

/// Bytes of the head of a frame in a WAL; its second word is not zero in the last frame of a commit.
const FRAME_HEAD: c_int = 24;

static COMMITS: AtomicU64 = AtomicU64::new(0);
static SYNCS: AtomicU64 = AtomicU64::new(0);
static UNSYNCED: AtomicU64 = AtomicU64::new(0);
static PENDING: AtomicU64 = AtomicU64::new(0);
static SLOWER: AtomicU64 = AtomicU64::new(0);
static SHOWN: OnceLock<File> = OnceLock::new();
static PLAIN: OnceLock<Plain> = OnceLock::new();
static ORIGINALS: OnceLock<Originals> = OnceLock::new();
static METHODS: Mutex<Vec<Methods>> = Mutex::new(Vec::new());

/// The file system that SQLite comes with.
struct Plain(*mut ffi::sqlite3_vfs);
/// The methods of one kind of its files, and the same with ours in two places. A database has other locks than a WAL;
/// all kinds are written and synced by the same functions.
struct Methods {
    plain: *const ffi::sqlite3_io_methods,
    ours: &'static ffi::sqlite3_io_methods,
}

/// How all files are written and synced.
struct Originals {
    write: unsafe extern "C" fn(*mut ffi::sqlite3_file, *const c_void, c_int, ffi::sqlite3_int64) -> c_int,
    sync: unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int) -> c_int,
}

// SAFETY: SQLite registers its file system once and never changes or frees it; the tables are only read.
unsafe impl Send for Plain {}
unsafe impl Sync for Plain {}
unsafe impl Send for Methods {}
unsafe impl Sync for Methods {}

fn show() {
    if let Some(file) = SHOWN.get() {
        let mut bytes = [0; 24];
        for (at, count) in [&COMMITS, &SYNCS, &UNSYNCED].into_iter().enumerate() {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&count.load(Ordering::SeqCst).to_le_bytes());
        }
        file.write_all_at(&bytes, 0).unwrap();
    }
}

/// Our methods for files that have these.
///
/// SAFETY: `plain` is a table that SQLite keeps for as long as the process lives.
unsafe fn ours_for(plain: *const ffi::sqlite3_io_methods) -> *const ffi::sqlite3_io_methods {
    let mut all = METHODS.lock().unwrap();
    if let Some(known) = all.iter().find(|known| known.plain == plain) {
        return known.ours;
    }
    // SAFETY: as promised by the caller.
    let methods = unsafe { *plain };
    let originals = Originals { write: methods.xWrite.unwrap(), sync: methods.xSync.unwrap() };
    let first = ORIGINALS.get_or_init(|| originals);
    assert!(std::ptr::fn_addr_eq(first.write, methods.xWrite.unwrap()));
    assert!(std::ptr::fn_addr_eq(first.sync, methods.xSync.unwrap()));
    let ours: &'static _ =
        Box::leak(Box::new(ffi::sqlite3_io_methods { xSync: Some(sync), xWrite: Some(write), ..methods }));
    all.push(Methods { plain, ours });
    ours
}

/// SAFETY: called by SQLite, with what `xOpen` of its own file system takes.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let plain = PLAIN.get().unwrap().0;
    // SAFETY: the arguments are passed on as they came; `file` has the size that this very file system asks for.
    unsafe {
        let code = (*plain).xOpen.unwrap()(plain, name, file, flags, out_flags);
        if code == ffi::SQLITE_OK && !(*file).pMethods.is_null() {
            (*file).pMethods = ours_for((*file).pMethods);
        }
        code
    }
}

/// SAFETY: called by SQLite for a file that [`open`] opened.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let slower = SLOWER.load(Ordering::Relaxed);
    if slower > 0 {
        std::thread::sleep(Duration::from_micros(slower));
    }
    // SAFETY: the original method of the same file.
    let code = unsafe { (ORIGINALS.get().unwrap().sync)(file, flags) };
    SYNCS.fetch_add(1, Ordering::SeqCst);
    PENDING.store(0, Ordering::SeqCst);
    show();
    code
}

/// SAFETY: called by SQLite for a file that [`open`] opened, with `size` bytes at `data`.
unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    size: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: a frame's head has at least eight bytes.
    let ends_commit = size == FRAME_HEAD && unsafe { *data.cast::<[u8; 8]>() }[4..] != [0; 4];
    if ends_commit {
        COMMITS.fetch_add(1, Ordering::SeqCst);
        UNSYNCED.fetch_add(PENDING.swap(1, Ordering::SeqCst), Ordering::SeqCst);
    }
    // SAFETY: the original method of the same file.
    unsafe { (ORIGINALS.get().unwrap().write)(file, data, size, offset) }
}

/// All databases of this process go through it from now on.
pub(crate) fn register(delay: Duration) {
    set_delay(delay);
    // SAFETY: the copy lives as long as the process; every method but `xOpen` works on files as SQLite made them.
    PLAIN.get_or_init(|| unsafe {
        let plain = ffi::sqlite3_vfs_find(std::ptr::null());
        let ours = Box::new(ffi::sqlite3_vfs {
            zName: c"counting".as_ptr(),
            pNext: std::ptr::null_mut(),
            xOpen: Some(open),
            ..*plain
        });
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(ours), 1), ffi::SQLITE_OK);
        Plain(plain)
    });
}

pub(crate) fn set_delay(delay: Duration) {
    SLOWER.store(u64::try_from(delay.as_micros()).unwrap(), Ordering::Relaxed);
}

/// Is the service, if this process was started to be one.
pub(crate) fn serve() -> Option<u8> {
    let delay = std::env::var(DELAY).ok()?.parse().unwrap();
    let counts = File::options().create(true).truncate(true).write(true).open(std::env::var_os(COUNTS)?);
    SHOWN.set(counts.unwrap()).unwrap();
    register(Duration::from_micros(delay));
    let cli = <afterplay::cli::Cli as clap::Parser>::try_parse().unwrap();
    Some(afterplay::commands::dispatch(cli))
}
