//! A child process that, with its own children, cannot outlive its driver.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::process::{Pid, Signal};

use super::{Launch, LaunchError};

/// Timeout of the start, also with a profiler.
const START_MAX: Duration = Duration::from_secs(30);
/// Timeout of the graceful shutdown, also with a profiler.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// A server's process.
#[derive(Debug)]
pub struct Process {
    // None: the server is a thread of this process, as in tests.
    child: Option<Child>,
    // Ends the child's process group when this process ends and closes its standard input.
    watcher: Option<Child>,
    program: String,
    log: PathBuf,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self {
            child: None,
            watcher: None,
            program: "this process".to_owned(),
            log: PathBuf::new(),
        }
    }

    /// Starts a program as `how` asks, in a process group of its own. The kernel kills it when
    /// the calling thread ends, and a watcher its children, so that not even a killed driver
    /// leaves a server behind. Both outputs go to the log.
    pub(super) fn spawn(
        how: &Launch,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self, LaunchError> {
        let spawn = || {
            let log = File::create(&how.log)?;
            let mut words = Vec::new();
            if let Some(core) = how.core {
                words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
            }
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
            words.extend(how.prefix.iter().cloned());
            words.push(program.to_owned());
            Command::new(&words[0])
                .args(&words[1..])
                .args(arguments)
                .envs(environment.iter().cloned())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0)
                .spawn()
        };
        let program = program.to_owned();
        match spawn() {
            Ok(child) => {
                let mut process = Self {
                    child: Some(child),
                    watcher: None,
                    program,
                    log: how.log.clone(),
                };
                process.watch().map_err(|cause| LaunchError::Spawn {
                    program: "sh".to_owned(),
                    cause,
                })?;
                Ok(process)
            }
            Err(cause) => Err(LaunchError::Spawn { program, cause }),
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        let watcher = Command::new("sh")
            .args([
                "-c",
                r#"read -r _; kill -KILL -- "-$0""#,
                &self.id().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A key pressed in the terminal ends the driver, not the watcher.
            .process_group(0)
            .spawn()?;
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or_else(std::process::id, Child::id)
    }

    /// Waits until `ready` returns a value.
    pub(super) fn wait_for<T>(
        &mut self,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, LaunchError> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(answer) = ready(&self.log_text()) {
                return Ok(answer);
            }
            if let Some(status) = self.ended() {
                return Err(self.not_up(&format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.not_up("it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    fn not_up(&self, why: &str) -> LaunchError {
        let log = self.log_text();
        let skip = log.lines().count().saturating_sub(8);
        let end: Vec<&str> = log.lines().skip(skip).collect();
        LaunchError::NotUp {
            program: self.program.clone(),
            why: format!("{why}\n{}", end.join("\n")),
        }
    }

    fn log_text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Shuts it down, and kills it if it does not end.
    ///
    /// # Errors
    /// When the system call fails.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        if child.try_wait()?.is_none() {
            if let Some(pid) = Pid::from_raw(child.id() as i32) {
                rustix::process::kill_process(pid, Signal::TERM)?;
            }
            let deadline = Instant::now() + LEAVE_MAX;
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.end_family();
        Ok(())
    }

    /// Kills the rest of the process group.
    fn end_family(&mut self) {
        let Some(mut watcher) = self.watcher.take() else {
            return;
        };
        let _ = watcher.kill();
        let _ = watcher.wait();
        if let Some(group) = Pid::from_raw(self.id() as i32) {
            // Usually it is empty.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop().is_err()
            && let Some(child) = &mut self.child
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.end_family();
    }
}

/// Whether the address accepts connections.
pub(super) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}
