//! Descriptors that a daemon hands to the next one: by the service manager, which keeps them meanwhile (sd_notify(3), "FDSTORE"), or by becoming the
//! next one itself. The manager hands them over as sd_listen_fds(3) has it, numbered from 3 on; who becomes the next leaves them their numbers, and says
//! which. Knows nothing of what they are.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use signal_hook::consts::SIGUSR2;

use crate::error::{Failure, Kind};

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
/// In place of their count: their numbers, as the names are written.
const NUMBERS: &str = "ARES_FDS";
/// The first that a manager hands over.
const FIRST: RawFd = 3;
/// More than a manager keeps for one service.
const COUNT_MAX: RawFd = 1024;

/// Some, each with the name it was given. They are closed with the last that has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handed(Vec<(String, Arc<OwnedFd>)>);

impl Handed {
    /// Those that this process was started with.
    pub(crate) fn from_env(env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| env(name).and_then(|value| value.into_string().ok());
        // Whoever started us may have got them itself, and have left the names in our environment.
        let is_ours = text(PID).is_some_and(|pid| pid == std::process::id().to_string());
        let numbers: Vec<RawFd> = match (is_ours, text(NUMBERS), text(COUNT)) {
            (false, ..) | (_, None, None) => Vec::new(),
            (_, Some(numbers), _) => numbers.split(':').filter_map(|number| number.parse().ok()).collect(),
            (_, None, Some(count)) => {
                let count = count.parse().ok().filter(|count| (0..COUNT_MAX).contains(count));
                (FIRST..FIRST + count.unwrap_or(0)).collect()
            }
        };
        let fds = ares_ring::handed::take(&numbers).unwrap_or_else(|e| {
            tracing::error!("descriptors {numbers:?} were promised and are not there: {e}");
            Vec::new()
        });
        let names = text(NAMES).unwrap_or_default();
        let named = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        Self(named.zip(fds.into_iter().map(Arc::new)).collect())
    }

    /// One more.
    pub(crate) fn add(&mut self, name: String, fd: Arc<OwnedFd>) {
        self.0.push((name, fd));
    }

    /// The one of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, fd)| Arc::clone(fd))
    }

    /// All, each with its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<OwnedFd>)> {
        self.0.iter().map(|(name, fd)| (name.as_str(), fd))
    }

    /// This process becomes what is installed now in place of the program that it is, called as it was, and hands it these. Returns only where that
    /// failed.
    pub(crate) fn exec(self) -> Failure {
        let program = match next_program() {
            Ok(program) => program,
            Err(failure) => return failure,
        };
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let numbers: Vec<String> = self.0.iter().map(|(_, fd)| fd.as_raw_fd().to_string()).collect();
        let mut command = Command::new(&program);
        command
            .args(std::env::args_os().skip(1))
            .env(PID, std::process::id().to_string())
            .env_remove(COUNT)
            .env(NUMBERS, numbers.join(":"))
            .env(NAMES, names.join(":"));
        for (_, fd) in &self.0 {
            if let Err(e) = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()) {
                return failed(e.into());
            }
        }
        // One more request to make room would end the next one before it can heed it.
        match ares_ring::handed::ignore(SIGUSR2) {
            Ok(()) => failed(command.exec()),
            Err(e) => failed(e),
        }
    }
}

/// What `Handed::exec` runs: to be looked at before anything is left for it, as it may be about to be replaced.
pub(crate) fn next_program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(failed)?;
    let program = replaced(&program);
    rustix::fs::access(&program, rustix::fs::Access::EXEC_OK).map_err(|e| failed(e.into()))?;
    Ok(program)
}

fn failed(e: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, format!("this process cannot become the next daemon: {e}"))
}

/// Of a program whose file was replaced the kernel gives the old name, and says so.
fn replaced(program: &Path) -> PathBuf {
    let name = program.to_string_lossy();
    name.strip_suffix(" (deleted)")
        .filter(|_| !program.exists())
        .map_or_else(|| program.to_owned(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_somebody_else_are_not_taken() {
        let other = |name: &str| {
            let vars = [(PID, "1"), (COUNT, "2"), (NAMES, "a:b")];
            let var = vars.iter().find(|(known, _)| *known == name);
            var.map(|(_, value)| OsString::from(value))
        };
        for env in [&other as &dyn Fn(&str) -> Option<OsString>, &|_| None] {
            assert_eq!(Handed::from_env(env).iter().count(), 0);
        }
    }

    #[test]
    fn a_program_that_was_replaced_is_known_by_its_old_name() {
        let check = |name: &str, expect: &str| assert_eq!(replaced(Path::new(name)), Path::new(expect));
        check("/nowhere/ares (deleted)", "/nowhere/ares");
        check("/nowhere/ares", "/nowhere/ares");
        check("/", "/");
    }
}
