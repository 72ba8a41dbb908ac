//! The page that Prometheus scrapes: free to be served, served already, or taken by somebody else.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use obs_core::Clock;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{config::model::Prometheus, export::Unreached};

/// What is read of a page to see whose it is.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// In every page of ours.
const OURS: &str = "obs_record_imbalance";

/// Where it is.
pub(super) fn shown(settings: &Prometheus) -> String {
    let host = settings.host.trim_matches(['[', ']']);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("http://{host}:{}/metrics", settings.port)
}

pub(super) fn look(
    settings: &Prometheus,
    token: Option<&SecretString>,
    hop: Duration,
) -> Result<&'static str, Unreached> {
    let address = address(settings)?;
    if token.is_none() && !address.ip().is_loopback() {
        let reason = format!(
            "{} can be reached from other machines: set OBS_PROMETHEUS_TOKEN, or listen on localhost",
            settings.host
        );
        return Err(Unreached::at("the settings", reason));
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok("the port is free: programs can listen there"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let page = ask(address, token, hop).map_err(|error| {
                taken(address, &format!("whoever has it does not answer ({error})"))
            })?;
            judge(address, &page)
        }
        Err(error) => {
            let reason = format!("{address}: {error}: choose an address of this machine");
            Err(Unreached::at("listening", reason))
        }
    }
}

fn judge(address: SocketAddr, page: &str) -> Result<&'static str, Unreached> {
    let status = page.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "200" if page.contains(OURS) => Ok("a program of ours serves it"),
        "401" | "403" => {
            let reason = format!("{address} wants another token: compare OBS_PROMETHEUS_TOKEN");
            Err(Unreached::at("the answer", reason))
        }
        _ => Err(taken(address, "whoever has it is no program of ours")),
    }
}

fn taken(address: SocketAddr, by: &str) -> Unreached {
    let reason = format!(
        "{address} is in use, and {by}: choose another OTEL_EXPORTER_PROMETHEUS_PORT (`port` in a file)"
    );
    Unreached::at("listening", reason)
}

fn address(settings: &Prometheus) -> Result<SocketAddr, Unreached> {
    let host = settings.host.trim_matches(['[', ']']);
    let ip = if host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        host.parse().map_err(|_| {
            let reason =
                format!("{host} is no address of this machine: use localhost or an address");
            Unreached::at("the settings", reason)
        })?
    };
    Ok(SocketAddr::new(ip, settings.port))
}

fn ask(address: SocketAddr, token: Option<&SecretString>, hop: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, hop)?;
    stream.set_read_timeout(Some(hop))?;
    stream.set_write_timeout(Some(hop))?;
    let token = token.map(|token| format!("Authorization: Bearer {}\r\n", token.expose_secret()));
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{}\r\n",
        token.unwrap_or_default()
    );
    stream.write_all(request.as_bytes())?;
    let (clock, mut page, mut part) = (Clock::default(), Vec::new(), [0; 16 * 1024]);
    let start = clock.now();
    while page.len() < PAGE_BYTES_MAX && clock.now().since(start) < hop {
        match stream.read(&mut part)? {
            0 => break,
            read => page.extend(part.iter().take(read)),
        }
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}
