//! A client of event streams, as a browser's `EventSource` is one: it keeps the last id, and what is cut
//! in the middle of an event never happened.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::support::http::{self, Head};
use crate::support::stream::{Address, Stream};

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A stream that is being read.
pub(crate) struct Source {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    stream: Stream,
    rest: Vec<u8>,
    /// What is kept for a reconnect.
    pub(crate) last_id: String,
    /// The last time to reconnect that was sent, in ms.
    pub(crate) retry: Option<u64>,
    /// Events without data, such as heartbeats.
    pub(crate) silent: usize,
}

/// A request for a stream.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// With one it is a POST.
    pub(crate) body: Option<String>,
}

impl Asking {
    /// What `new EventSource(path)` sends from a page of the same site.
    pub(crate) fn event_source(path: &str) -> Self {
        let headers = [
            ("Host", "gateway.test"),
            ("Accept", "text/event-stream"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Cookie", "sessionid=7"),
        ];
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            path: path.to_owned(),
            headers: headers.map(text).to_vec(),
            body: None,
        }
    }

    /// With another value of a header, or none.
    pub(crate) fn header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        let value = value.map(|value| (name.to_owned(), value.to_owned()));
        self.headers.extend(value);
        self
    }

    /// With a body.
    pub(crate) fn post(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string());
        self
    }

    /// Sends it. Reads the head of the response.
    #[track_caller]
    pub(crate) fn open(&self, to: &Address) -> Source {
        self.try_open(to).expect("a response")
    }

    /// The same, where the connection may be refused or lost.
    pub(crate) fn try_open(&self, to: &Address) -> std::io::Result<Source> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\n", self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut stream = to.connect()?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(self.body.as_deref().unwrap_or_default().as_bytes())?;
        let (start, headers, rest): Head = http::read_head(&mut stream)?;
        let status = start.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Source {
            status: status.expect("a status"),
            headers,
            stream,
            rest,
            last_id: String::new(),
            retry: None,
            silent: 0,
        })
    }
}

impl Source {
    /// A header's value; names are written in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| std::str::from_utf8(value).expect("text"))
    }

    /// The next event; none at the end of the stream.
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        loop {
            while let Some(at) = self.rest.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<_> = self.rest.drain(..at + 2).collect();
                let block = std::str::from_utf8(&block).expect("UTF-8").to_owned();
                if let Some(event) = self.take(&block) {
                    return Some(event);
                }
                self.silent += 1;
            }
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer).expect("an event in time") {
                0 => return None,
                read => self.rest.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        self.try_next().expect("an event")
    }

    /// The next event, which has this name.
    #[track_caller]
    pub(crate) fn expect(&mut self, name: &str) -> Value {
        let event = self.next();
        assert_eq!(event.name, name, "{event:?}");
        event.data
    }

    /// The name and the data of the next publication.
    #[track_caller]
    pub(crate) fn publication(&mut self) -> (Value, Value) {
        let message = self.expect("publish");
        (message["requestId"].clone(), message["data"].clone())
    }

    /// Everything that follows, to the end of the connection.
    pub(crate) fn body(mut self) -> Vec<u8> {
        let _ = self.stream.read_to_end(&mut self.rest);
        self.rest
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let mut event = Event::default();
        let mut data = Vec::new();
        for line in block.trim_end_matches('\n').split('\n') {
            let (field, value) = line.split_once(": ").unwrap_or((line, ""));
            match field {
                "id" => self.last_id = value.to_owned(),
                "event" => event.name = value.to_owned(),
                "data" => data.push(value),
                "retry" => self.retry = value.parse().ok(),
                ":" => {}
                other => panic!("no field: {other:?}"),
            }
        }
        let data = (!data.is_empty()).then(|| data.join("\n"))?;
        event.data = serde_json::from_str(&data).expect("JSON");
        Some(event)
    }
}
