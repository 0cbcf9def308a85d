//! A publisher of `POST /trigger/`, over as many connections as it has requests at once.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{Publish, body};

pub(super) struct Http {
    host: String,
    /// Those without a request; the last one used is used first.
    idle: Mutex<Vec<BufStream<TcpStream>>>,
}

impl Http {
    pub(super) async fn open(address: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let mut idle = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            idle.push(BufStream::new(stream));
        }
        Ok(Self {
            host: address.to_string(),
            idle: Mutex::new(idle),
        })
    }
}

impl Publish for Http {
    async fn publish(&self, number: u64) -> anyhow::Result<()> {
        let idle = self.idle.lock().await.pop();
        let mut stream = idle.context("more requests than connections")?;
        let body = body(number);
        let request = format!(
            "POST /trigger/ HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        accepted(&mut stream).await?;
        self.idle.lock().await.push(stream);
        Ok(())
    }
}

/// Reads a response, which must be 200.
async fn accepted(stream: &mut BufStream<TcpStream>) -> anyhow::Result<()> {
    let (mut status, mut length) = (String::new(), 0);
    stream.read_line(&mut status).await?;
    loop {
        let mut line = String::new();
        anyhow::ensure!(stream.read_line(&mut line).await? > 0, "no response");
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body);
    anyhow::ensure!(status.starts_with("HTTP/1.1 200 "), "{status}{body}");
    Ok(())
}
