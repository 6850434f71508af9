//! An SQLite VFS over the default one, made the process's default: the journal opens through it without knowing.
//!
//! It touches only files in folders that a test has given to a [`Disk`]; everything else goes straight to SQLite's own
//! VFS, with its own methods. Each call on a file of a `Disk` is told to the disk first, which may refuse it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, Once, OnceLock, PoisonError};

use rusqlite::ffi;

use super::disk::{Call, Disk, Trouble};

static DISKS: LazyLock<Mutex<HashMap<PathBuf, Arc<Disk>>>> = LazyLock::new(Mutex::default);
static INNER: OnceLock<Inner> = OnceLock::new();

/// SQLite's own VFS; it lives as long as the process.
struct Inner(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite itself calls its VFS from all threads.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// From now on SQLite files directly in `folder` belong to `disk`.
pub(crate) fn attach(folder: &Path, disk: &Arc<Disk>) {
    install();
    // SQLite hands over resolved paths.
    let folder = folder.canonicalize().unwrap();
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).insert(folder, disk.clone());
}

/// They do no longer.
pub(crate) fn detach(folder: &Path) {
    let folder = folder.canonicalize().unwrap();
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).remove(&folder);
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite initialises itself; null asks for the default VFS, whose fields stay as they are for good.
        // The new VFS and its name are leaked, so they outlive every connection.
        unsafe {
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            let inner = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!inner.is_null());
            let ours = Box::leak(Box::new(*inner));
            ours.szOsFile = c_int::try_from(size_of::<Shim>()).unwrap() + (*inner).szOsFile;
            ours.pNext = std::ptr::null_mut();
            ours.zName = c"afterplay-power".as_ptr();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            ours.xAccess = Some(access);
            assert!(INNER.set(Inner(inner)).is_ok());
            assert_eq!(ffi::sqlite3_vfs_register(ours, 1), ffi::SQLITE_OK);
        }
    });
}

fn inner_vfs() -> *mut ffi::sqlite3_vfs {
    INNER.get().unwrap().0
}

/// What lies in the memory that SQLite reserves for an open file; the file of its own VFS follows.
#[repr(C)]
struct Shim {
    base: ffi::sqlite3_file,
    state: *mut State,
}

struct State {
    disk: Arc<Disk>,
    name: String,
    inode: usize,
    main: bool,
    /// The next sync of this file also syncs the folder, as SQLite's own VFS does for a new journal or WAL.
    syncs_folder: bool,
}

/// The disk and the file's name in its folder.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn whose(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: by contract.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (folder, name) = path.rsplit_once('/')?;
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    Some((disks.get(Path::new(folder))?.clone(), name.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes what the contract of `xOpen` says: `file` has `szOsFile` bytes, which is room for a shim
    // and for the inner file after it.
    unsafe {
        let vfs = inner_vfs();
        let real_open = (*vfs).xOpen.unwrap();
        let Some((disk, name)) = whose(path) else {
            return real_open(vfs, path, file, flags, out);
        };
        (*file).pMethods = std::ptr::null();
        if disk.call(Call::Open).is_some() {
            return ffi::SQLITE_CANTOPEN;
        }
        let inner = inner(file);
        // The memory need not be zero, and a failed open must not leave methods behind.
        (*inner).pMethods = std::ptr::null();
        let code = real_open(vfs, path, inner, flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let main = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
        let journal = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
        let inode = disk.opened(&name, main);
        let syncs_folder = journal && flags & ffi::SQLITE_OPEN_CREATE != 0;
        let state = Box::new(State { disk, name, inode, main, syncs_folder });
        let shim = file.cast::<Shim>();
        (*shim).state = Box::into_raw(state);
        (*shim).base.pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes a C string.
    unsafe {
        let vfs = inner_vfs();
        let owned = whose(path);
        if let Some((disk, _)) = &owned
            && disk.call(Call::Delete).is_some()
        {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let code = (*vfs).xDelete.unwrap()(vfs, path, sync);
        if let (Some((disk, name)), ffi::SQLITE_OK) = (owned, code) {
            disk.deleted(&name, sync & 1 != 0);
        }
        code
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a C string and a place for the answer.
    unsafe {
        let vfs = inner_vfs();
        if let Some((disk, _)) = whose(path)
            && disk.call(Call::Access).is_some()
        {
            return ffi::SQLITE_IOERR_ACCESS;
        }
        (*vfs).xAccess.unwrap()(vfs, path, flags, out)
    }
}

/// The file of SQLite's own VFS.
///
/// # Safety
/// `file` was opened by [`open`], or is about to be.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` leaves room for both.
    unsafe { file.cast::<Shim>().add(1).cast() }
}

/// # Safety
/// `file` was opened by [`open`] and not closed; SQLite uses a file from one thread at a time.
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a mut State {
    // SAFETY: by contract.
    unsafe { &mut *(*file.cast::<Shim>()).state }
}

/// Calls a method of the inner file.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let inner = inner($file);
        (*(*inner).pMethods).$method.unwrap()(inner $(, $argument)*)
    }};
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // No memory mapping: every byte passes by here.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

type File = *mut ffi::sqlite3_file;

// SAFETY of all that follow: SQLite calls them with a file that `open` opened and with buffers of the size it says.

unsafe extern "C" fn close(file: File) -> c_int {
    unsafe {
        let code = pass!(file, xClose);
        drop(Box::from_raw((*file.cast::<Shim>()).state));
        (*file).pMethods = std::ptr::null();
        code
    }
}

unsafe extern "C" fn read(file: File, buffer: *mut c_void, bytes: c_int, at: i64) -> c_int {
    unsafe {
        match state(file).disk.call(Call::Read) {
            Some(_) => ffi::SQLITE_IOERR_READ,
            None => pass!(file, xRead, buffer, bytes, at),
        }
    }
}

unsafe extern "C" fn write(file: File, buffer: *const c_void, bytes: c_int, at: i64) -> c_int {
    unsafe {
        let state = state(file);
        let all = std::slice::from_raw_parts(buffer.cast::<u8>(), usize::try_from(bytes).unwrap());
        let trouble = state.disk.call(Call::Write);
        let written = match trouble {
            None => all,
            Some(Trouble::Short) => &all[..all.len() / 2],
            Some(Trouble::Eio | Trouble::Full) => &[],
        };
        if !written.is_empty() {
            let code = pass!(file, xWrite, buffer, c_int::try_from(written.len()).unwrap(), at);
            if code != ffi::SQLITE_OK {
                return code;
            }
            state.disk.wrote(state.inode, at.unsigned_abs(), written);
        }
        match trouble {
            None => ffi::SQLITE_OK,
            Some(Trouble::Eio) => ffi::SQLITE_IOERR_WRITE,
            Some(Trouble::Full | Trouble::Short) => ffi::SQLITE_FULL,
        }
    }
}

unsafe extern "C" fn truncate(file: File, size: i64) -> c_int {
    unsafe {
        let state = state(file);
        if state.disk.call(Call::Truncate).is_some() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let code = pass!(file, xTruncate, size);
        if code == ffi::SQLITE_OK {
            state.disk.truncated(state.inode, size.unsigned_abs());
        }
        code
    }
}

unsafe extern "C" fn sync(file: File, flags: c_int) -> c_int {
    unsafe {
        let state = state(file);
        if state.disk.call(Call::Sync).is_some() {
            state.disk.sync_failed(state.inode);
            return ffi::SQLITE_IOERR_FSYNC;
        }
        if state.disk.swallows_sync(&state.name) {
            return ffi::SQLITE_OK;
        }
        let code = pass!(file, xSync, flags);
        if code == ffi::SQLITE_OK {
            state.disk.synced(state.inode, std::mem::take(&mut state.syncs_folder));
        }
        code
    }
}

unsafe extern "C" fn file_size(file: File, size: *mut i64) -> c_int {
    unsafe {
        match state(file).disk.call(Call::Size) {
            Some(_) => ffi::SQLITE_IOERR_FSTAT,
            None => pass!(file, xFileSize, size),
        }
    }
}

unsafe extern "C" fn lock(file: File, level: c_int) -> c_int {
    unsafe {
        match state(file).disk.call(Call::Lock) {
            Some(_) => ffi::SQLITE_IOERR_LOCK,
            None => pass!(file, xLock, level),
        }
    }
}

unsafe extern "C" fn unlock(file: File, level: c_int) -> c_int {
    unsafe { pass!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: File, out: *mut c_int) -> c_int {
    unsafe { pass!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(file: File, operation: c_int, argument: *mut c_void) -> c_int {
    unsafe {
        let state = state(file);
        if operation == ffi::SQLITE_FCNTL_PRAGMA && state.main {
            let words = argument.cast::<*mut c_char>();
            let (name, value) = (*words.add(1), *words.add(2));
            if !name.is_null() && !value.is_null() {
                let name = CStr::from_ptr(name).to_string_lossy().to_ascii_lowercase();
                let given = CStr::from_ptr(value).to_bytes().len();
                if let Some(other) = state.disk.instead(&name)
                    && other.len() <= given
                {
                    // The text is SQLite's own copy of the value, and nobody else looks at it before it is used.
                    std::ptr::copy_nonoverlapping(other.as_ptr().cast(), value, other.len());
                    *value.add(other.len()) = 0;
                }
            }
        }
        pass!(file, xFileControl, operation, argument)
    }
}

unsafe extern "C" fn sector_size(file: File) -> c_int {
    unsafe { pass!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: File) -> c_int {
    unsafe { pass!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: File,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    unsafe {
        match state(file).disk.call(Call::SharedMemory) {
            Some(_) => ffi::SQLITE_IOERR_SHMMAP,
            None => pass!(file, xShmMap, page, size, extend, out),
        }
    }
}

unsafe extern "C" fn shm_lock(file: File, offset: c_int, n: c_int, flags: c_int) -> c_int {
    unsafe { pass!(file, xShmLock, offset, n, flags) }
}

unsafe extern "C" fn shm_barrier(file: File) {
    unsafe { pass!(file, xShmBarrier) }
}

unsafe extern "C" fn shm_unmap(file: File, delete: c_int) -> c_int {
    unsafe { pass!(file, xShmUnmap, delete) }
}
