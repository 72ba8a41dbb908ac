//! A connection that is kept, as a browser or a pool keeps it: HTTP/1.1, answers with a length.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer is at most this long.
const BODY_MAX: usize = 16 << 20;

pub(crate) struct Client {
    target: String,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(target: &str) -> Self {
        Self { target: target.to_owned(), open: None }
    }

    /// The status and the body of an answer. After an error the connection is another one.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.send("GET", path, None, "obs-load")
    }

    /// The same with a body, and an id that the service repeats on all that it says about the request.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
        id: &str,
    ) -> io::Result<(u16, String)> {
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => connect(&self.target)?,
        };
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-request-id: {id}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.target,
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let (status, body, stays) = read(&mut stream)?;
        if stays {
            self.open = Some(stream);
        }
        Ok((status, body))
    }
}

fn connect(target: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn read(stream: &mut impl BufRead) -> io::Result<(u16, String, bool)> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| odd("no status line"))?;
    let (mut length, mut stays) = (None, true);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
        stays &= header != "connection: close";
    }
    let length = length.filter(|length| *length <= BODY_MAX);
    let length =
        length.ok_or_else(|| odd("an answer without a length, or a longer one than 16 MiB"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned(), stays))
}
