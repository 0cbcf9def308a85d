//! pushpin's control port: items for channels over HTTP. It closes the connection after each
//! response, so every trigger opens a new one and waits for the response.

use std::io;
use std::io::{Read, Write};
use std::net::SocketAddr;

use super::{Endpoint, Trigger, connect};

pub(super) struct GripEndpoint {
    address: SocketAddr,
    response: String,
}

impl GripEndpoint {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        // Fails immediately if nothing listens.
        connect(address)?;
        Ok(Self {
            address,
            response: String::new(),
        })
    }
}

impl Endpoint for GripEndpoint {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        let mut stream = connect(self.address)?;
        stream.write_all(request(self.address, trigger).as_bytes())?;
        self.response.clear();
        stream.read_to_string(&mut self.response)?;
        if self.response.starts_with("HTTP/1.1 2") {
            return Ok(());
        }
        let problem = format!("trigger refused: {}", self.response);
        Err(io::Error::other(problem))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request(address: SocketAddr, trigger: &Trigger) -> String {
    let mut message = Vec::new();
    trigger.write_message(&mut message);
    let item = serde_json::json!({
        "channel": trigger.room_name(),
        "formats": {"ws-message": {"content": String::from_utf8_lossy(&message)}},
    });
    let body = serde_json::json!({"items": [item]}).to_string();
    format!(
        "POST /publish/ HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, Stamp};
    use crate::workload::Rooms;

    #[test]
    fn an_item_has_the_message_as_text() {
        let trigger = Trigger {
            rooms: Rooms::FanOut,
            target: 0,
            stamp: Stamp {
                trigger: 1,
                sequence: 2,
                sent_ns: 3,
            },
            data_bytes: 128,
            content: Content::Filler,
        };
        let request = request(([127, 0, 0, 1], 5561).into(), &trigger);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let item = &body["items"][0];
        assert_eq!(item["channel"], "all");
        let content = item["formats"]["ws-message"]["content"].as_str().unwrap();
        let content: serde_json::Value = serde_json::from_str(content).unwrap();
        assert_eq!(content["type"], "publish");
        assert_eq!(content["data"].as_str().unwrap().len(), 126);
    }
}
