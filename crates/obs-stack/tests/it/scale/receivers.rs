//! Thanos: two receivers that hold every series twice, a router before them, and the query that sees both as one.

use std::path::{Path, PathBuf};

use crate::{
    ports::free_port,
    programs::THANOS,
    stack::{Process, Prometheus, get_at, until},
};

/// Copies of every series. With two, one that answers is enough for a write to be acknowledged.
const REPLICATION: &str = "--receive.replication-factor=2";
/// As Prometheus has it: two gateways and retries change the order of samples.
const OUT_OF_ORDER: &str = "--tsdb.out-of-order.time-window=30m";
/// The label that tells the copies apart, which the query leaves out.
const REPLICA: &str = "receive_replica";

/// Processes that end with it.
pub(super) struct Receivers {
    receivers: [Process; 2],
    http: [u16; 2],
    write: u16,
    pub(super) query: Prometheus,
    _others: [Process; 2],
    _temporary: tempfile::TempDir,
}

impl Receivers {
    /// `None` only if whoever runs the tests has said to go without.
    pub(super) fn start() -> Option<Self> {
        let thanos = THANOS.find()?;
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let [grpc, http] = [(); 2].map(|()| [(); 2].map(|()| free_port()));
        let receivers =
            [0, 1].map(|number| receiver(&thanos, folder, number, [grpc[number], http[number]]));
        let write = free_port();
        let router = router(&thanos, folder, grpc, write);
        let server = free_port();
        let query = query(&thanos, folder, grpc, server);
        let all = Self {
            receivers,
            http,
            write,
            query: Prometheus::new(server),
            _others: [router, query],
            _temporary: temporary,
        };
        for number in 0..2 {
            all.wait_until_ready(number);
        }
        all.query.wait_until_ready();
        Some(all)
    }

    /// For `OBS_COLLECTOR_THANOS_URL`.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.write)
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, number: usize) {
        self.receivers[number].kill();
    }

    pub(super) fn start_again(&mut self, number: usize) {
        self.receivers[number].start_again();
        self.wait_until_ready(number);
    }

    fn wait_until_ready(&self, number: usize) {
        until(|| "a receiver", || get_at("127.0.0.1", self.http[number], "/-/ready").map(drop));
    }
}

fn receiver(thanos: &Path, folder: &Path, number: usize, [grpc, http]: [u16; 2]) -> Process {
    let arguments = [
        "receive".to_owned(),
        format!("--tsdb.path={}", folder.join(format!("tsdb-{number}")).display()),
        format!("--label={REPLICA}=\"{number}\""),
        format!("--grpc-address=127.0.0.1:{grpc}"),
        format!("--http-address=127.0.0.1:{http}"),
        format!("--remote-write.address=127.0.0.1:{}", free_port()),
        capn_proto(),
        OUT_OF_ORDER.to_owned(),
    ];
    Process::start(&format!("receiver-{number}"), thanos, &arguments, &[], folder)
}

/// Without an endpoint of its own in the ring it stores nothing.
fn router(thanos: &Path, folder: &Path, ring: [u16; 2], write: u16) -> Process {
    let endpoints = ring.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
    let file: PathBuf = folder.join("ring.json");
    std::fs::write(&file, format!("[{{\"endpoints\": [{endpoints}]}}]")).unwrap();
    let arguments = [
        "receive".to_owned(),
        format!("--tsdb.path={}", folder.join("tsdb-router").display()),
        "--label=receive_router=\"0\"".to_owned(),
        format!("--receive.hashrings-file={}", file.display()),
        REPLICATION.to_owned(),
        format!("--grpc-address=127.0.0.1:{}", free_port()),
        format!("--http-address=127.0.0.1:{}", free_port()),
        format!("--remote-write.address=127.0.0.1:{write}"),
        capn_proto(),
    ];
    Process::start("router", thanos, &arguments, &[], folder)
}

/// The other way in, which nobody uses, and which would listen on a port of its own on every address.
fn capn_proto() -> String {
    format!("--receive.capnproto-address=127.0.0.1:{}", free_port())
}

fn query(thanos: &Path, folder: &Path, stores: [u16; 2], port: u16) -> Process {
    let mut arguments = vec![
        "query".to_owned(),
        format!("--query.replica-label={REPLICA}"),
        format!("--grpc-address=127.0.0.1:{}", free_port()),
        format!("--http-address=127.0.0.1:{port}"),
    ];
    arguments.extend(stores.map(|store| format!("--endpoint=127.0.0.1:{store}")));
    Process::start("query", thanos, &arguments, &[], folder)
}
