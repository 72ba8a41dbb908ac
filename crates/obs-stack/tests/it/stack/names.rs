//! A name server that knows one name with two addresses: what a gateway tier looks like to its agents.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const ADDRESSES: [[u8; 4]; 2] = [[127, 0, 0, 1], [127, 0, 0, 2]];

/// Answers every question for an IPv4 address with the two; any other with nothing.
pub(super) struct Names {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Names {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let address = socket.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            let mut question = [0; 512];
            while !ended.load(Ordering::SeqCst) {
                let Ok((length, asker)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length]) {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        });
        Self { address, over }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// The answer to a query (RFC 1035, 4.1).
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?;
    let end = 12 + name.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(12..end + 4)?;
    let addresses: &[_] = if query.get(end..end + 2)? == [0, 1] { &ADDRESSES } else { &[] };
    let mut answer = query[..2].to_vec();
    // A response, with recursion; one question, so many answers.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, type A, class IN, for a second, four bytes.
        answer.extend([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}
