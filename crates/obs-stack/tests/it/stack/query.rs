//! Prometheus' HTTP API, as far as tests ask it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use super::until;

/// The labels of a sample.
pub(crate) type Labels = BTreeMap<String, String>;

/// A server on loopback.
pub(crate) struct Prometheus {
    port: u16,
}

impl Prometheus {
    pub(crate) const fn new(port: u16) -> Self {
        Self { port }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn wait_until_ready(&self) {
        until(|| "Prometheus", || get(self.port, "/-/ready").map(drop));
    }

    /// The samples of an instant query, or what is wrong with it.
    pub(crate) fn ask(&self, query: &str) -> Result<Vec<(Labels, f64)>, String> {
        self.ask_with(query, "")
    }

    /// The same with further parameters, each after a `&`.
    pub(crate) fn ask_with(
        &self,
        query: &str,
        parameters: &str,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let path = format!("/api/v1/query?query={}{parameters}", encoded(query));
        let body = get(self.port, &path).ok_or_else(|| format!("refused: {query}"))?;
        let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        Ok(samples.iter().filter_map(sample).collect())
    }

    /// The one number that a query gives.
    pub(crate) fn number(&self, query: &str) -> Option<f64> {
        match self.ask(query).unwrap().as_slice() {
            [] => None,
            [(_, number)] => Some(*number),
            many => panic!("{query}: {} samples", many.len()),
        }
    }

    /// Waits until a query gives this number.
    #[track_caller]
    pub(crate) fn comes_to(&self, query: &str, expected: f64) {
        let last = RefCell::new(None);
        let what = || format!("{query} = {expected}, last {:?}", last.borrow());
        until(what, || {
            let number = self.number(query);
            *last.borrow_mut() = number;
            (number == Some(expected)).then_some(())
        });
    }

    /// The names of the alerts that fire.
    pub(crate) fn firing(&self) -> Vec<String> {
        let firing = self.ask("ALERTS{alertstate=\"firing\"}").unwrap();
        firing.into_iter().filter_map(|(mut labels, _)| labels.remove("alertname")).collect()
    }
}

fn sample(sample: &Value) -> Option<(Labels, f64)> {
    let labels = serde_json::from_value(sample["metric"].clone()).ok()?;
    Some((labels, sample["value"][1].as_str()?.parse().ok()?))
}

/// The body of an answer of 2xx or 4xx.
fn get(port: u16, path: &str) -> Option<String> {
    get_at("127.0.0.1", port, path)
}

/// The same of another address.
pub(crate) fn get_at(host: &str, port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((host, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status.starts_with('2') || status.starts_with('4')).then(|| body.to_owned())
}

/// The body of an answer of 2xx to a request with a body, at `http://HOST:PORT`.
pub(crate) fn post(base: &str, path: &str, content_type: &str, body: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(base.strip_prefix("http://")?).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    let head = format!("content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
    write!(stream, "POST {path} HTTP/1.0\r\nhost: localhost\r\n{head}").ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
}

fn encoded(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
