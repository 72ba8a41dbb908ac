//! The exporters: each hop by itself, and then a point that really goes there.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    sync::mpsc,
    thread,
};

use obs::Configuration;

use super::{Finding, HOP_DEADLINE};

pub(super) fn findings(settings: &Configuration) -> Vec<Finding> {
    let targets = settings.targets();
    if targets.is_empty() {
        return vec![Finding::off("exporter", "nothing is sent anywhere")];
    }
    let stopped: Vec<_> = targets.iter().filter_map(|target| reach(target)).collect();
    if !stopped.is_empty() {
        return stopped;
    }
    vec![send(settings, &targets)]
}

/// The hop at which an address cannot be reached; `None` where it can, or is none.
fn reach(target: &str) -> Option<Finding> {
    let (scheme, rest) = target.split_once("://")?;
    let authority = rest.split('/').next()?;
    let usual = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let bad = |hop, detail| Some(Finding::bad("exporter", target, hop, detail));
    let name = host.clone();
    let found =
        within_deadline(move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    let addresses = match found {
        None => {
            return bad(
                "the name",
                format!("{host} was not found within {HOP_DEADLINE:?}: look at the resolver"),
            );
        }
        Some(Err(error)) => {
            return bad("the name", format!("{host} is not found ({error}): look at its spelling"));
        }
        Some(Ok(addresses)) => addresses,
    };
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, HOP_DEADLINE) {
            Ok(_) => return None,
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    bad("the connection", format!("{last}: look whether it listens there, and at firewalls"))
}

/// On a thread that may be left behind: the system's resolver has no deadline.
fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (say, hear) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("obs-doctor".to_owned())
        .spawn(move || {
            // Whoever asked may have gone.
            let _ = say.send(work());
        })
        .ok()?;
    hear.recv_timeout(HOP_DEADLINE).ok()
}

/// Sends the metrics of one run.
fn send(settings: &Configuration, targets: &[String]) -> Finding {
    let shown = targets.join(", ");
    match settings.probe(HOP_DEADLINE).map(|report| report.export) {
        Ok(Ok(_)) => Finding::ok("exporter", shown, "a point was sent and taken"),
        Ok(Err(error)) => Finding::bad("exporter", shown, "the answer", error.to_string()),
        Err(error) => Finding::bad("exporter", shown, "the settings", error.to_string()),
    }
}
