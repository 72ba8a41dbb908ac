//! The same runs into a real Postgres: what is stored does not depend on the store.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use tokio_postgres::NoTls;

use crate::{
    Quickstart,
    rows::{KeptRow, NOTHING_IS_SLOW, kept},
    whole,
};

/// A private server, which stops when this process lets go of its standard input.
struct Postgres {
    server: Child,
    url: String,
}

impl Postgres {
    fn start() -> Self {
        let script =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres"));
        let mut server =
            Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("postgres://"), "scripts/private-postgres says {url:?}");
        Self { server, url }
    }

    fn kept(&self) -> Vec<KeptRow> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut rows = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
            let reading = tokio::spawn(connection);
            let query = "SELECT strategy_id, strategy_version, status, keep_reason, input::text \
                         FROM obs.run JOIN obs.run_payload USING (run_id)";
            let rows = client.query(query, &[]).await.unwrap();
            drop(client);
            reading.await.unwrap().unwrap();
            rows.into_iter()
                .map(|row| KeptRow {
                    strategy_id: row.get(0),
                    strategy_version: row.get(1),
                    status: row.get(2),
                    keep_reason: row.get(3),
                    input: row.get(4),
                })
                .collect::<Vec<_>>()
        });
        rows.sort();
        rows
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

#[test]
fn sqlite_and_postgres_hold_the_same_rows_of_one_seed() {
    const FLAGS: &str = "--runs 3000 --threads 1 --seed 7";
    let in_a_file = Quickstart::new();
    in_a_file.json(FLAGS, &NOTHING_IS_SLOW);

    let postgres = Postgres::start();
    let variables = [NOTHING_IS_SLOW[0], ("OBS_STORE", &*postgres.url)];
    let report = Quickstart::new().json(FLAGS, &variables);

    let rows = postgres.kept();
    assert_eq!(rows.len() as u64, whole(&report["store"]["rows"]));
    assert!(rows.iter().any(|row| row.status == "limit"));
    assert!(rows.iter().any(|row| row.keep_reason == "sampled"));
    assert_eq!(rows, kept(&in_a_file));
}
