//! `ht-bench`: load generator and floor.

use std::io;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ht_bench::backend::StubBackend;
use ht_bench::cli::{Cli, Command, DriveArgs, FloorArgs, Which};
use ht_bench::floor::Floor;
use ht_bench::server::LISTENING;
use ht_bench::workload::Grants;
use ht_bench::{backend_calls, drive, publish, report};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ht-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // Ten thousand sockets need more than the usual limit.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    match cli.command {
        Command::Floor(args) => floor(&args),
        Command::Drive(args) => drive(&args),
        Command::BackendCalls(args) => {
            let duration = Duration::try_from_secs_f64(args.seconds)?;
            let cost = backend_calls::measure(args.backend, args.rate, duration)?;
            println!("{}", serde_json::to_string(&cost)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Publish(args) => {
            let backend = StubBackend::start(Grants::Shared, Duration::ZERO)?;
            let (server, launch) = args.server(backend.address());
            let (running, internal) = server.start(&launch)?;
            let mut found = publish::measure(&running, internal, args.plan()?);
            let mut process = running.process;
            if let Err(error) = process.stop() {
                found = found.and(Err(error).context("the gateway could not be stopped"));
            }
            let found = found?;
            println!("{}", serde_json::to_string(&found)?);
            eprintln!("{}", found.one_line());
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(args) => {
            let outcomes = report::read(&args.results)?;
            let published = args.published.as_deref().map(report::read).transpose()?;
            let published = published.unwrap_or_default();
            let text = report::render(&outcomes, &published, &args.notes);
            if let (Some(path), Some(picture)) = (&args.svg, report::plot(&outcomes)) {
                std::fs::write(path, picture)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            match &args.out {
                Some(path) => std::fs::write(path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?,
                None => io::stdout().write_all(text.as_bytes())?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn floor(args: &FloorArgs) -> anyhow::Result<ExitCode> {
    let floor = Floor::bind(args.listen, args.mode).context("cannot listen")?;
    println!("{LISTENING}{} {}", floor.public()?, floor.control()?);
    floor.run()?;
    Ok(ExitCode::SUCCESS)
}

fn drive(args: &DriveArgs) -> anyhow::Result<ExitCode> {
    let server = args.server();
    let rate_max = server.rate_max(args.rooms);
    let mut workload = args.workload()?;
    let asked = workload.pace;
    workload.pace = asked.at_most(rate_max);
    // Whatever happens, this ends; the server's process ends with us.
    let deadline = Duration::from_secs(args.deadline_seconds);
    std::thread::Builder::new()
        .name("deadline".to_owned())
        .spawn(move || {
            std::thread::sleep(deadline);
            eprintln!("ht-bench: not done after {deadline:?}: giving up");
            std::process::exit(2);
        })?;
    let backend = StubBackend::start(workload.grants, workload.answer_after)
        .context("cannot start the stub backend")?;
    let running = server.launch(&args.launch(backend.address()))?;
    eprintln!("{} runs as process {}", server.name(), running.process.id());
    let label = args.label(server.name());
    let mut outcome = match drive::drive(running, &workload, label, backend.calls()) {
        Err(error) if error.is_unable() => {
            eprintln!("{} {} left out: {error}", args.name, server.name());
            return Ok(ExitCode::from(3));
        }
        other => other?,
    };
    if let (Some(storming), Which::Gateway) = (&mut outcome.storming, args.server) {
        let calls = backend_calls::measure_apart(&args.launch(backend.address()), storming)?;
        storming.backend_call_us = Some(calls.call_us);
    }
    outcome.rate_max = rate_max.filter(|_| workload.pace != asked);
    println!("{}", serde_json::to_string(&outcome)?);
    eprintln!("{}", report::one_line(&outcome));
    Ok(match outcome.invalid {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}
