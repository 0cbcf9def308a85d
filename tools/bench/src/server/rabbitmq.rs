//! A RabbitMQ that lives as long as a run, started by `tests/support/rabbitmq`.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Launch, LaunchError};

/// A running RabbitMQ. Dropping it ends it; if the driver is killed, it ends itself a second
/// later.
#[derive(Debug)]
pub struct RabbitMq {
    script: PathBuf,
    url: String,
    pid: u32,
    directory: TempDir,
}

impl RabbitMq {
    /// Starts it and waits until it serves.
    pub(super) fn start(how: &Launch) -> Result<Self, LaunchError> {
        let spawn = |cause| LaunchError::Spawn {
            program: how.rabbitmq.to_string_lossy().into_owned(),
            cause,
        };
        let directory = TempDir::with_prefix("ht-bench-rabbitmq-").map_err(spawn)?;
        let output = Command::new(&how.rabbitmq)
            .args([OsStr::new("start"), directory.path().as_os_str()])
            .env("HT_RABBITMQ_OWNER", std::process::id().to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(spawn)?;
        let url = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let pid = fs::read_to_string(directory.path().join("server.pid"));
        let pid = pid.ok().and_then(|pid| pid.trim().parse().ok());
        match pid {
            Some(pid) if output.status.success() => Ok(Self {
                script: how.rabbitmq.clone(),
                url,
                pid,
                directory,
            }),
            _ => Err(LaunchError::NotUp {
                program: how.rabbitmq.to_string_lossy().into_owned(),
                why: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
        }
    }

    /// Its url, with user and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        let ended = Command::new(&self.script)
            .args([OsStr::new("end"), self.directory.path().as_os_str()])
            .stdin(Stdio::null())
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!(
                "RabbitMQ in {} did not end",
                self.directory.path().display()
            );
        }
    }
}
