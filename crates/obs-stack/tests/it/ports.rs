//! Ports for programs that cannot be given a socket. The tests of other packages have this file as well.

use std::{
    io,
    net::TcpListener,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ephemeral ports of Linux and macOS: no connection of anybody takes one before the program that it is for.
const PORTS: Range<u16> = 20_000..32_000;

/// A port on which nobody listens, and which no other test of this process was given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes begin at places of their own.
    let first = std::process::id().wrapping_mul(97);
    let count = PORTS.len() as u32;
    let mut ports = (0..count).map(|_| {
        let nth = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        PORTS.start + u16::try_from(nth).unwrap()
    });
    ports.find(|port| ["127.0.0.1", "127.0.0.2"].iter().all(|host| is_free(host, *port))).unwrap()
}

/// An address that this machine does not have is nobody's.
fn is_free(host: &str, port: u16) -> bool {
    !TcpListener::bind((host, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
