//! Where files live: the folders of a system service and those of a user.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Whose service this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Started by the system's service manager.
    System,
    /// Started by a user, by hand or in a session.
    User,
}

/// Where a system service is reached when nothing else is said.
pub const SYSTEM_SOCKET: &str = "/run/afterplay/afterplay.sock";

pub(super) const SYSTEM_CONFIG: &str = "/etc/afterplay/config.toml";
const SYSTEM_STATE: &str = "/var/lib/afterplay";

/// The largest uid that is given to services (`SYS_UID_MAX`).
const SYSTEM_UID_MAX: u32 = 999;

/// The folders of the user who runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFolders {
    /// For the configuration file.
    pub config: PathBuf,
    /// For the journal.
    pub data: PathBuf,
    /// For the socket, where the system has such a folder.
    pub runtime: Option<PathBuf>,
}

/// All that the configuration learns from outside its file.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Effective user id, where there is one.
    pub uid: Option<u32>,
    /// Process id.
    pub pid: u32,
    /// The user's folders; `None` where no home is known.
    pub folders: Option<UserFolders>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        // A home that depends on where somebody stands is none: the next command would look elsewhere.
        let dirs = directories::ProjectDirs::from("", "", "afterplay");
        let dirs = dirs.filter(|dirs| dirs.config_dir().is_absolute() && dirs.data_local_dir().is_absolute());
        let folders = dirs.map(|dirs| UserFolders {
            config: dirs.config_dir().to_owned(),
            data: dirs.data_local_dir().to_owned(),
            runtime: dirs.runtime_dir().map(Path::to_owned),
        });
        #[cfg(unix)]
        let uid = Some(rustix::process::geteuid().as_raw());
        #[cfg(not(unix))]
        let uid = None;
        Self { variables: std::env::vars_os().collect(), uid, pid: std::process::id(), folders }
    }

    /// With these variables and nothing else, for tests.
    pub fn with_variables<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, ..Self::default() }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(std::ffi::OsStr::new(name))?.to_str()
    }

    /// The first folder of a list that systemd passes, if it is absolute.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        let first = self.text(name)?.split(':').next()?;
        Some(PathBuf::from(first)).filter(|path| path.is_absolute())
    }

    /// Whether the system's service manager started this very process.
    ///
    /// A user's service manager passes `MANAGERPID`, and in some releases a `STATE_DIRECTORY` as well. A shell
    /// below a service inherits `INVOCATION_ID`, but not the process id in `SYSTEMD_EXEC_PID`.
    pub fn scope(&self) -> Scope {
        if self.text("MANAGERPID").is_some() {
            return Scope::User;
        }
        let started = self.text("INVOCATION_ID").is_some()
            && self.text("SYSTEMD_EXEC_PID").is_none_or(|pid| pid == self.pid.to_string());
        let service_user = self.uid.is_some_and(|uid| uid <= SYSTEM_UID_MAX);
        if self.folder("STATE_DIRECTORY").is_some() || (started && service_user) {
            Scope::System
        } else {
            Scope::User
        }
    }

    /// Where files live unless the configuration says otherwise. Whoever names the system service's file means that
    /// service, whoever they are.
    pub fn places(&self, named: Option<&Path>) -> Places {
        let scope = if named == Some(Path::new(SYSTEM_CONFIG)) { Scope::System } else { self.scope() };
        match scope {
            Scope::System => Places {
                scope: Scope::System,
                config_file: Some(PathBuf::from(SYSTEM_CONFIG)),
                socket: Some(match self.folder("RUNTIME_DIRECTORY") {
                    Some(folder) => folder.join("afterplay.sock"),
                    None => PathBuf::from(SYSTEM_SOCKET),
                }),
                journal: Some(
                    self.folder("STATE_DIRECTORY")
                        .unwrap_or_else(|| PathBuf::from(SYSTEM_STATE))
                        .join("journal.db"),
                ),
            },
            Scope::User => {
                let folders = self.folders.as_ref();
                Places {
                    scope: Scope::User,
                    config_file: folders.map(|folders| folders.config.join("config.toml")),
                    // Without a runtime folder a private one is used: anybody could be first in a shared one.
                    socket: folders.map(|folders| {
                        let folder = folders.runtime.clone().unwrap_or_else(|| folders.data.join("run"));
                        folder.join("afterplay.sock")
                    }),
                    journal: folders.map(|folders| folders.data.join("journal.db")),
                }
            }
        }
    }
}

/// Default places; `None` where no home is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Whose service this is.
    pub scope: Scope,
    /// The configuration that is read when no other is named.
    pub config_file: Option<PathBuf>,
    /// The socket of the local API.
    pub socket: Option<PathBuf>,
    /// The journal.
    pub journal: Option<PathBuf>,
}

/// Whether somebody may be reached at a path: a folder that may not be looked into counts as a yes, so that the
/// caller is told about the permission it lacks.
pub fn socket_exists(path: &Path) -> bool {
    match path.try_exists() {
        Ok(exists) => exists,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(uid: u32, variables: &[(&str, &str)]) -> Surroundings {
        let folders = UserFolders {
            config: "/home/a/.config/afterplay".into(),
            data: "/home/a/.local/share/afterplay".into(),
            runtime: Some("/run/user/1000/afterplay".into()),
        };
        let variables = variables.iter().copied();
        Surroundings {
            uid: Some(uid),
            pid: 77,
            folders: Some(folders),
            ..Surroundings::with_variables(variables)
        }
    }

    #[test]
    fn who_is_a_system_service() {
        let state = ("STATE_DIRECTORY", "/var/lib/afterplay");
        let (invocation, manager) = (("INVOCATION_ID", "f00"), ("MANAGERPID", "1234"));
        let (own, other) = (("SYSTEMD_EXEC_PID", "77"), ("SYSTEMD_EXEC_PID", "76"));
        for (uid, variables, expected) in [
            (1000, vec![], Scope::User),
            (0, vec![], Scope::User),
            (995, vec![state], Scope::System),
            (995, vec![state, invocation, own], Scope::System),
            (1000, vec![state], Scope::System),
            (1000, vec![state, invocation, own, manager], Scope::User),
            (995, vec![invocation, own], Scope::System),
            (0, vec![invocation], Scope::System),
            (0, vec![invocation, other], Scope::User),
            (1000, vec![invocation, own], Scope::User),
            (1000, vec![("STATE_DIRECTORY", "relative")], Scope::User),
        ] {
            assert_eq!(surroundings(uid, &variables).scope(), expected, "{uid} {variables:?}");
        }
    }

    #[test]
    fn places_of_a_system_service() {
        let places = surroundings(995, &[("STATE_DIRECTORY", "/var/lib/private/afterplay:/x")]).places(None);
        assert_eq!(places.config_file, Some("/etc/afterplay/config.toml".into()));
        assert_eq!(places.socket, Some(SYSTEM_SOCKET.into()));
        assert_eq!(places.journal, Some("/var/lib/private/afterplay/journal.db".into()));

        let places =
            surroundings(0, &[("INVOCATION_ID", "f00"), ("RUNTIME_DIRECTORY", "/run/other")]).places(None);
        assert_eq!(places.socket, Some("/run/other/afterplay.sock".into()));
        assert_eq!(places.journal, Some("/var/lib/afterplay/journal.db".into()));
    }

    #[test]
    fn whoever_names_the_system_file_means_the_system_service() {
        let of = |file| surroundings(1000, &[]).places(Some(Path::new(file)));
        let places = of("/etc/afterplay/config.toml");
        assert_eq!((places.scope, places.socket), (Scope::System, Some(SYSTEM_SOCKET.into())));
        assert_eq!(places.journal, Some("/var/lib/afterplay/journal.db".into()));
        assert_eq!(of("/home/a/afterplay.toml").scope, Scope::User);
    }

    #[test]
    fn places_of_a_user() {
        let mut surroundings = surroundings(1000, &[]);
        let places = surroundings.places(None);
        assert_eq!(places.config_file, Some("/home/a/.config/afterplay/config.toml".into()));
        assert_eq!(places.socket, Some("/run/user/1000/afterplay/afterplay.sock".into()));
        assert_eq!(places.journal, Some("/home/a/.local/share/afterplay/journal.db".into()));

        surroundings.folders.as_mut().unwrap().runtime = None;
        assert_eq!(
            surroundings.places(None).socket,
            Some("/home/a/.local/share/afterplay/run/afterplay.sock".into())
        );

        surroundings.folders = None;
        let nowhere = Places { scope: Scope::User, config_file: None, socket: None, journal: None };
        assert_eq!(surroundings.places(None), nowhere);
    }

    #[test]
    fn a_socket_out_of_reach_counts_as_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!socket_exists(&folder.path().join("afterplay.sock")));
        assert!(socket_exists(folder.path()));
    }
}
