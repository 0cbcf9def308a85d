//! Common parts of the other products: their installation folders and environment.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use tempfile::TempDir;

use super::{Launch, LaunchError};

/// So many free ports.
pub(super) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], LaunchError> {
    let take = || -> io::Result<Vec<SocketAddr>> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // All at once, so that no port is returned twice.
        let listeners = (0..N).map(|_| bind()).collect::<io::Result<Vec<_>>>()?;
        listeners.iter().map(TcpListener::local_addr).collect()
    };
    let failed = |cause| LaunchError::Spawn {
        program: "a server".to_owned(),
        cause,
    };
    let addresses = take().map_err(failed)?;
    addresses
        .try_into()
        .map_err(|_| failed(io::ErrorKind::AddrNotAvailable.into()))
}

/// A file of a Debian package: where `bench/run` has unpacked it, or else the system's own.
pub(super) fn debian(how: &Launch, path: &str) -> PathBuf {
    let unpacked = absolute(&how.peers.join("debian").join(path));
    if unpacked.exists() {
        unpacked
    } else {
        Path::new("/").join(path)
    }
}

/// Variables that programs of unpacked packages need to find each other and their libraries.
pub(super) fn debian_environment(how: &Launch) -> Vec<(&'static str, String)> {
    let root = absolute(&how.peers.join("debian"));
    let library = |triple: &str| root.join("usr/lib").join(triple).display().to_string();
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let path = std::env::var("PATH").unwrap_or_default();
    let root = root.display();
    vec![
        ("LD_LIBRARY_PATH", library(&triple)),
        ("PATH", format!("{root}/usr/bin:{root}/usr/sbin:{path}")),
    ]
}

/// A file in the folder of a peer that was installed from a registry.
pub(super) fn installed(how: &Launch, path: &str) -> String {
    absolute(&how.peers.join(path))
        .to_string_lossy()
        .into_owned()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A folder for a server's configuration and output, with these files.
pub(super) fn scratch(files: &[(&str, String)]) -> Result<TempDir, LaunchError> {
    let write = || {
        // A short name: sockets' paths have a limit.
        let directory = TempDir::with_prefix("ht-bench-")?;
        for (name, text) in files {
            fs::write(directory.path().join(name), text)?;
        }
        Ok(directory)
    };
    write().map_err(|cause| LaunchError::Spawn {
        program: "a server's folder".to_owned(),
        cause,
    })
}

/// The first line of a program's version output, from either stream.
pub(super) fn version(
    program: &Path,
    arguments: &[&str],
    environment: &[(&'static str, String)],
) -> String {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().cloned())
        .output();
    let Ok(output) = output else {
        return String::new();
    };
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_returned_twice() {
        let addresses = free_addresses::<8>().unwrap();
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 8);
    }

    #[test]
    fn a_scratch_folder_has_its_files_and_is_removed() {
        let directory = scratch(&[("a.conf", "text".to_owned())]).unwrap();
        let path = directory.path().to_owned();
        assert_eq!(fs::read_to_string(path.join("a.conf")).unwrap(), "text");
        drop(directory);
        assert!(!path.exists());
    }
}
