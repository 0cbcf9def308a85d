//! The cost of the backend call alone: the gateway's own client makes it in a separate process.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use ht_backend::config::{BackendConfig, GuardConfig, HookCalls};
use ht_backend::{Answer, Backend, ForwardRules, Guard};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::outcome::Storming;
use crate::server::Launch;
use ht_telemetry::usage::CpuClock;

/// Calls before the measurement, which open the persistent connections.
const WARM_UP_CALLS: u32 = 100;

/// Cost of a call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CallCost {
    /// Calls that were made.
    pub calls: u64,
    /// CPU of one call, user and system, in µs.
    pub call_us: f64,
}

/// Makes `rate` calls a second for `duration`, one after the other.
///
/// # Errors
/// When the backend refuses a user.
pub fn measure(backend: SocketAddr, rate: f64, duration: Duration) -> anyhow::Result<CallCost> {
    // One thread, as in the gateway.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Guard::http(config(backend))?;
        let rules = ForwardRules::new(BackendConfig::default_headers());
        for number in 0..WARM_UP_CALLS {
            call(&client, &rules, number).await?;
        }
        let mut clock = CpuClock::new(std::process::id());
        let before = clock.read()?;
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < duration {
            let due = start + Duration::from_secs_f64(f64::from(calls) / rate);
            tokio::time::sleep_until(due.into()).await;
            call(&client, &rules, calls).await?;
            calls += 1;
        }
        let cpu = clock.read()? - before;
        Ok(CallCost {
            calls: u64::from(calls),
            call_us: cpu.total.as_secs_f64() * 1e6 / f64::from(calls.max(1)),
        })
    })
}

fn config(backend: SocketAddr) -> BackendConfig {
    BackendConfig {
        url: format!("http://{backend}/api/"),
        socket: None,
        bootstrap: "bootstrap/".to_owned(),
        timeout: Duration::from_secs(10),
        user_id_path: [].into(),
        headers: BackendConfig::default_headers().into(),
        forward_bytes_max: ht_backend::FORWARD_BYTES_MAX,
        guard: GuardConfig::default(),
        answer_bytes_max: 4 << 20,
        tls_verify: true,
        tls_ca_file: None,
        hooks: HookCalls::default(),
    }
}

/// The work for one client: collect its credentials, make the call.
async fn call(client: &Guard, rules: &ForwardRules, number: u32) -> anyhow::Result<()> {
    let mut visitor = HeaderMap::new();
    let cookie = format!("sessionid={number}; csrftoken=bench");
    visitor.insert(header::COOKIE, HeaderValue::from_str(&cookie)?);
    visitor.insert(header::USER_AGENT, HeaderValue::from_static("ht-bench"));
    let credentials = rules.apply(&visitor, None)?;
    match client.bootstrap(&credentials).await {
        Answer::Admitted(_) => Ok(()),
        answer @ (Answer::Refused(_) | Answer::Failed(_)) => {
            anyhow::bail!("the backend answers {answer:?}")
        }
    }
}

/// The same in a separate process, on the server's core and at the rate of a storm.
///
/// # Errors
/// When the process fails.
pub fn measure_apart(how: &Launch, storming: &Storming) -> anyhow::Result<CallCost> {
    let program = std::env::current_exe()?;
    let core = how.core.map(|core| core.to_string());
    let mut command = match &core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let output = command
        .arg("backend-calls")
        .args(["--backend", &how.backend.to_string()])
        .args(["--rate", &storming.per_second.to_string()])
        .output()
        .context("cannot measure the backend call")?;
    if !output.status.success() {
        anyhow::bail!("backend-calls: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("backend-calls says something else")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::StubBackend;
    use crate::workload::Grants;

    #[test]
    fn calls_are_made_and_cost_something() {
        let backend = StubBackend::start(Grants::Own, Duration::ZERO).unwrap();
        let duration = Duration::from_millis(50);
        let cost = measure(backend.address(), 10_000.0, duration).unwrap();
        assert!(cost.calls > 0 && cost.call_us > 0.0, "{cost:?}");
    }

    #[test]
    fn a_backend_that_is_not_there_is_no_measurement() {
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(measure(address, 100.0, Duration::from_millis(10)).is_err());
    }
}
